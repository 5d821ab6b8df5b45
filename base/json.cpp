#include "base/json.h"

#include <cmath>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace headlight {
namespace {

using Base = nlohmann::json_sax<Json>;

/// Builds the document and refuses what nlohmann accepts silently: duplicate keys, deep nesting, huge integers.
class StrictBuilder : public Base {
 public:
  explicit StrictBuilder(const JsonLimits& limits) : limits_(limits) {}
  Json take() { return std::move(root_); }

  bool null() override { return put(Json(nullptr)); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override { return put(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(Json(value)); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!limits_.wide_integers && text.find_first_of(".eE") == std::string::npos)
      throw Error(Errc::bad_format, "integer " + text + " does not fit 64 bits", at());
    return put(Json(value));
  }
  bool string(string_t& value) override { return put(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    key_.clear();  // a duplicate is reported at the object, not below the last member
    if (!keys_.back().insert(value).second) throw Error(Errc::bad_format, "duplicate key '" + value + "'", at());
    key_ = value;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    std::string what = error.what();
    const auto colon = what.rfind("syntax error");
    if (colon != std::string::npos) what = what.substr(colon);
    throw Error(Errc::bad_format, "not valid JSON: " + what,
                {.file = {}, .field = {}, .offset = position ? position - 1 : 0, .hint = {}});
  }

 private:
  ErrorContext at() const { return {.file = {}, .field = path(), .offset = {}, .hint = {}}; }

  std::string path() const {
    std::string text;
    for (const auto& name : names_)
      if (!name.empty()) text += (text.empty() ? "" : ".") + name;
    if (!key_.empty()) text += (text.empty() ? "" : ".") + key_;
    return text;
  }

  Json* place(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    // The key was checked to be new: append without ordered_json's linear search.
    auto& object = parent.get_ref<Json::object_t&>();
    static_cast<std::vector<std::pair<const std::string, Json>>&>(object).emplace_back(key_, std::move(value));
    return &object.back().second;
  }

  bool put(Json&& value) {
    place(std::move(value));
    return true;
  }

  bool open(Json&& value) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth)
      throw Error(Errc::bad_format, "nested deeper than " + std::to_string(limits_.max_depth) + " levels", at());
    open_.push_back(place(std::move(value)));
    names_.push_back(std::exchange(key_, {}));
    keys_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    names_.pop_back();
    keys_.pop_back();
    key_.clear();
    return true;
  }

  JsonLimits limits_;
  Json root_;
  std::vector<Json*> open_;  // innermost last; stable because a parent is not appended to while a child is open
  std::vector<std::string> names_;
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

std::string join_path(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : std::string(path) + "." + std::string(key);
}

[[noreturn]] void wrong_type(std::string_view path, std::string_view key, const char* expected, const Json& found) {
  throw Error(Errc::bad_format, std::string("expected ") + expected + ", found " + found.type_name(),
              {.file = {}, .field = join_path(path, key), .offset = {}, .hint = {}});
}

const Json& required(const Json& object, std::string_view key, std::string_view path) {
  const Json* value = json_find(object, key, path);
  if (!value)
    throw Error(Errc::bad_format, "is required but missing",
                {.file = {}, .field = join_path(path, key), .offset = {}, .hint = {}});
  return *value;
}

double as_number(const Json& value, std::string_view key, std::string_view path) {
  if (!value.is_number()) wrong_type(path, key, "a number", value);
  const double number = value.get<double>();
  if (!std::isfinite(number)) wrong_type(path, key, "a finite number", value);
  return number;
}

std::int64_t as_integer(const Json& value, std::string_view key, std::string_view path) {
  if (!value.is_number_integer()) wrong_type(path, key, "an integer", value);
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    wrong_type(path, key, "an integer below 2^63", value);
  return value.get<std::int64_t>();
}

bool as_bool(const Json& value, std::string_view key, std::string_view path) {
  if (!value.is_boolean()) wrong_type(path, key, "true or false", value);
  return value.get<bool>();
}

std::string as_string(const Json& value, std::string_view key, std::string_view path) {
  if (!value.is_string()) wrong_type(path, key, "a string", value);
  return value.get<std::string>();
}

}  // namespace

Json parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    throw Error(Errc::bad_format, "JSON of " + std::to_string(text.size()) + " bytes exceeds the limit of " +
                                      std::to_string(limits.max_bytes) + " bytes");
  if (const auto nul = text.find('\0'); nul != std::string_view::npos)  // the parser would take it for the end
    throw Error(Errc::bad_format, "not valid JSON: a NUL byte", {.file = {}, .field = {}, .offset = nul, .hint = {}});
  if (text.starts_with("\xEF\xBB\xBF"))
    throw Error(Errc::bad_format, "starts with a byte-order mark; expected plain UTF-8 JSON");
  StrictBuilder builder(limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json load_json(const std::string& path, const JsonLimits& limits) {
  try {
    return parse_json(read_text_file(path, limits.max_bytes), limits);
  } catch (const Error& error) {
    throw error.in_file(path);
  }
}

std::string dump_json(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

const Json* json_find(const Json& object, std::string_view key, std::string_view path) {
  if (!object.is_object())
    throw Error(Errc::bad_format, std::string("expected an object, found ") + object.type_name(),
                {.file = {}, .field = path.empty() ? "document" : std::string(path), .offset = {}, .hint = {}});
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

double json_number(const Json& object, std::string_view key, std::string_view path) {
  return as_number(required(object, key, path), key, path);
}
std::int64_t json_integer(const Json& object, std::string_view key, std::string_view path) {
  return as_integer(required(object, key, path), key, path);
}
bool json_bool(const Json& object, std::string_view key, std::string_view path) {
  return as_bool(required(object, key, path), key, path);
}
std::string json_string(const Json& object, std::string_view key, std::string_view path) {
  return as_string(required(object, key, path), key, path);
}

double json_number_or(const Json& object, std::string_view key, double fallback, std::string_view path) {
  const Json* value = json_find(object, key, path);
  return value ? as_number(*value, key, path) : fallback;
}
std::int64_t json_integer_or(const Json& object, std::string_view key, std::int64_t fallback, std::string_view path) {
  const Json* value = json_find(object, key, path);
  return value ? as_integer(*value, key, path) : fallback;
}
bool json_bool_or(const Json& object, std::string_view key, bool fallback, std::string_view path) {
  const Json* value = json_find(object, key, path);
  return value ? as_bool(*value, key, path) : fallback;
}
std::string json_string_or(const Json& object, std::string_view key, std::string_view fallback, std::string_view path) {
  const Json* value = json_find(object, key, path);
  return value ? as_string(*value, key, path) : std::string(fallback);
}

}  // namespace headlight
