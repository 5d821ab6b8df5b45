#include "app/cli/option_checks.h"

#include <charconv>

#include <fmt/format.h>

namespace headlight::cli {
namespace {

/// True when `text` is a number of type T and nothing else.
template <class T>
bool parse_whole(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && !text.empty();
}

}  // namespace

CLI::Validator number_within(double low, double high) {
  const std::string range = fmt::format("{:g} to {:g}", low, high);
  return {[=](std::string& text) -> std::string {
            double value = 0;
            if (parse_whole(text, value) && value >= low && value <= high) return {};
            return fmt::format("expected a number from {}, found '{}'", range, text);
          },
          range};
}

CLI::Validator unsigned_integer() {
  return {[](std::string& text) -> std::string {
            std::uint64_t value = 0;
            if (parse_whole(text, value)) return {};
            return fmt::format("expected a whole number from 0 to 2^64 - 1, found '{}'", text);
          },
          "0 to 2^64 - 1"};
}

}  // namespace headlight::cli
