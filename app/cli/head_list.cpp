#include "app/cli/head_list.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::cli {
namespace {

constexpr int kAny = -1;

[[noreturn]] void refuse(std::string_view option, std::string_view text, std::size_t position,
                         const std::string& expected) {
  throw Error(Errc::invalid_argument, fmt::format("expected {}, found '{}' at position {}", expected, text, position),
              {.file = {}, .field = std::string(option), .offset = {}, .hint = {}});
}

/// A number within [0, count) or "*".
std::optional<int> index_or_any(std::string_view text, int count) {
  if (text == "*") return kAny;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0 || value >= count)
    return std::nullopt;
  return value;
}

HeadId parse_id(std::string_view option, std::string_view text, std::size_t position, int num_layers, int num_heads) {
  const std::string expected =
      fmt::format("a head such as 3.7, 3.* or L3H7 with layers 0-{} and heads 0-{}", num_layers - 1, num_heads - 1);
  if (text.find_first_of("=<>&!()") != std::string_view::npos)
    throw Error(Errc::unsupported, "metrics and roles in head expressions are not in this version",
                {.file = {}, .field = std::string(option), .offset = {}, .hint = {}});
  const bool lettered = text.starts_with('L');
  const auto middle = text.find(lettered ? 'H' : '.');
  if (middle == std::string_view::npos) refuse(option, text, position, expected);
  const auto layer = index_or_any(text.substr(lettered ? 1 : 0, middle - (lettered ? 1 : 0)), num_layers);
  const auto head = index_or_any(text.substr(middle + 1), num_heads);
  if (!layer || !head) refuse(option, text, position, expected);
  return {*layer, *head};
}

}  // namespace

std::vector<std::uint8_t> select_heads(std::string_view option, std::string_view text, const std::vector<int>& layers,
                                       int num_layers, int num_heads) {
  std::vector<std::uint8_t> selected(layers.size() * static_cast<std::size_t>(num_heads), text.empty() ? 1 : 0);
  for (std::size_t begin = 0; begin <= text.size() && !text.empty();) {
    const std::size_t end = std::min(text.find_first_of(",|", begin), text.size());
    std::size_t first = begin, last = end;
    while (first < last && text[first] == ' ') ++first;
    while (last > first && text[last - 1] == ' ') --last;
    const HeadId id = parse_id(option, text.substr(first, last - first), first, num_layers, num_heads);
    if (id.layer != kAny && std::find(layers.begin(), layers.end(), id.layer) == layers.end())
      refuse(option, text.substr(first, last - first), first, "a head of a recorded layer (--layers)");
    for (std::size_t l = 0; l < layers.size(); ++l)
      for (int h = 0; h < num_heads; ++h)
        if ((id.layer == kAny || id.layer == layers[l]) && (id.head == kAny || id.head == h))
          selected[l * static_cast<std::size_t>(num_heads) + static_cast<std::size_t>(h)] = 1;
    begin = end + 1;
  }
  return selected;
}

HeadId parse_head(std::string_view option, std::string_view text, int num_layers, int num_heads) {
  const HeadId id = parse_id(option, text, 0, num_layers, num_heads);
  if (id.layer == kAny || id.head == kAny) refuse(option, text, 0, "one head such as 3.7");
  return id;
}

}  // namespace headlight::cli
