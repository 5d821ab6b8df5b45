#include "app/cli/ranges.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::cli {
namespace {

[[noreturn]] void refuse(std::string_view option, std::string_view text, const std::string& expected) {
  throw Error(Errc::invalid_argument, fmt::format("expected {}, found '{}'", expected, text),
              {.file = {}, .field = std::string(option), .offset = {}, .hint = {}});
}

std::optional<std::int64_t> whole_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<int> parse_index_list(std::string_view option, std::string_view text, int count) {
  std::vector<int> all;
  if (text.empty() || text == "all" || text == "*") {
    for (int i = 0; i < count; ++i) all.push_back(i);
    return all;
  }
  const std::string expected = fmt::format("numbers or ranges within 0-{} such as \"0-7,12\"", count - 1);
  for (const auto part : split(text, ',')) {
    const auto dash = part.find('-');
    const auto first = whole_integer(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : whole_integer(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= count) refuse(option, text, expected);
    for (auto i = *first; i <= *last; ++i) all.push_back(static_cast<int>(i));
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

std::pair<std::int64_t, std::int64_t> parse_slice(std::string_view option, std::string_view text, std::int64_t size) {
  if (text.empty()) return {0, size};
  const auto colon = text.find(':');
  const std::string expected = fmt::format("a range \"a:b\" within 0:{}", size);
  if (colon == std::string_view::npos) refuse(option, text, expected);
  const auto side = [&](std::string_view part, std::int64_t fallback) {
    if (part.empty()) return fallback;
    const auto value = whole_integer(part);
    if (!value) refuse(option, text, expected);
    return *value < 0 ? *value + size : *value;
  };
  const std::int64_t begin = side(text.substr(0, colon), 0), end = side(text.substr(colon + 1), size);
  if (begin < 0 || end > size || begin >= end) refuse(option, text, expected);
  return {begin, end};
}

std::vector<std::int64_t> parse_integers(std::string_view option, std::string_view text) {
  std::vector<std::int64_t> values;
  for (auto part : split(text, ',')) {
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    const auto value = whole_integer(part);
    if (!value) refuse(option, text, "integers separated by commas");
    values.push_back(*value);
  }
  return values;
}

std::int64_t parse_bytes(std::string_view option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.ends_with("B")) unit.remove_suffix(1);
  const std::string_view units = "kMGT";
  double factor = 1;
  if (unit.size() == 1 && units.find(unit[0] == 'K' ? 'k' : unit[0]) != std::string_view::npos)
    for (std::size_t i = 0; i <= units.find(unit[0] == 'K' ? 'k' : unit[0]); ++i) factor *= 1000;
  else if (!unit.empty())
    refuse(option, text, "a size such as 500M or 2G");
  if (error != std::errc() || !(value > 0) || value * factor > 9e18) refuse(option, text, "a size such as 500M or 2G");
  return static_cast<std::int64_t>(value * factor);
}

std::string human_bytes(std::int64_t bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, units[unit]);
}

}  // namespace headlight::cli
