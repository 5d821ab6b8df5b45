#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace headlight {

/// Objects keep the order of their keys.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  std::uint64_t max_bytes = 4u << 20;
  int max_depth = 64;
  bool wide_integers = false;  ///< integers that do not fit 64 bits become doubles: some writers use 1e30 for "none"
};

/// Strict parse: UTF-8, no duplicate keys, no comments, no byte-order mark, bounded depth and size; an integer that
/// does not fit 64 bits is an error, not a double, unless the limits allow it.
/// @error bad_format  with the byte offset and, for duplicate keys, the path of the key
Json parse_json(std::string_view text, const JsonLimits& limits = {});

/// parse_json() of a file; errors name it. @error not_found, unreadable, bad_format
Json load_json(const std::string& path, const JsonLimits& limits = {});

/// Stable text: two-space indent, keys in order, invalid UTF-8 replaced, no trailing newline.
std::string dump_json(const Json& json, int indent = 2);

/// Typed access to a member of an object. Errors name the JSON path: "rope_scaling.factor: expected a number, found a
/// string". `path` is the path of `object` itself ("" at the root).
/// @error bad_format  missing, wrong type, or out of the type's range
double json_number(const Json& object, std::string_view key, std::string_view path = {});
std::int64_t json_integer(const Json& object, std::string_view key, std::string_view path = {});
bool json_bool(const Json& object, std::string_view key, std::string_view path = {});
std::string json_string(const Json& object, std::string_view key, std::string_view path = {});

/// As above, with a default for an absent or null member (a wrong type is still an error).
double json_number_or(const Json& object, std::string_view key, double fallback, std::string_view path = {});
std::int64_t json_integer_or(const Json& object, std::string_view key, std::int64_t fallback,
                             std::string_view path = {});
bool json_bool_or(const Json& object, std::string_view key, bool fallback, std::string_view path = {});
std::string json_string_or(const Json& object, std::string_view key, std::string_view fallback,
                           std::string_view path = {});

/// Member or nullptr when absent or null. @error bad_format when `object` is not an object
const Json* json_find(const Json& object, std::string_view key, std::string_view path = {});

}  // namespace headlight
