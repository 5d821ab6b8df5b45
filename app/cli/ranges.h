#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headlight::cli {

/// "0-7,12" -> {0,...,7,12}; ascending, no duplicates; inclusive; empty text = all of [0, count).
/// @error invalid_argument  naming `option`, the text and the allowed range
std::vector<int> parse_index_list(std::string_view option, std::string_view text, int count);

/// "a:b" half-open with either side optional and negatives counted from the end; empty text = {0, size}.
/// @error invalid_argument
std::pair<std::int64_t, std::int64_t> parse_slice(std::string_view option, std::string_view text, std::int64_t size);

/// Comma-separated 64-bit integers. @error invalid_argument
std::vector<std::int64_t> parse_integers(std::string_view option, std::string_view text);

/// "1.5G", "200M", "64k", "1000" -> bytes (powers of 1000). @error invalid_argument
std::int64_t parse_bytes(std::string_view option, std::string_view text);

/// "1.23 GB", "45 kB": powers of 1000, three significant digits.
std::string human_bytes(std::int64_t bytes);

}  // namespace headlight::cli
