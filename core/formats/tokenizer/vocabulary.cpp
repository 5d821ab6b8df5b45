#include "core/formats/tokenizer/vocabulary.h"

#include <charconv>

#include "core/formats/tokenizer/aligned_text.h"

namespace headlight::formats::tokenizer {
namespace {

/// GPT-2's table: printable bytes stand for themselves, the other 68 for U+0100 and up in order.
const std::array<std::int16_t, 0x200>& byte_of_code_point() {
  static const auto table = [] {
    std::array<std::int16_t, 0x200> made{};
    made.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      made[static_cast<std::size_t>(printable ? byte : next++)] = static_cast<std::int16_t>(byte);
    }
    return made;
  }();
  return table;
}

/// The byte of "<0xHH>".
std::optional<unsigned char> fallback_byte(std::string_view text) {
  unsigned value = 0;
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  if (error != std::errc() || end != text.data() + 5) return std::nullopt;
  return static_cast<unsigned char>(value);
}

}  // namespace

std::optional<std::string> bytes_of_byte_level(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    if (check_sequence(text, at).valid == 0) return std::nullopt;
    const CodePoint c = code_point_at(text, at);
    const int byte = c.value < 0x200 ? byte_of_code_point()[static_cast<std::size_t>(c.value)] : -1;
    if (byte < 0) return std::nullopt;
    bytes += static_cast<char>(byte);
    at += static_cast<std::size_t>(c.size);
  }
  return bytes;
}

Vocabulary::Vocabulary(const Definition& definition) : texts_(definition.tokens) {
  bytes_.fill(-1);
  ids_.reserve(texts_.size());
  std::vector<bool> is_added(texts_.size(), false);
  for (const auto& token : definition.added)
    if (static_cast<std::size_t>(token.id) < texts_.size()) is_added[static_cast<std::size_t>(token.id)] = true;
  for (std::size_t id = 0; id < texts_.size(); ++id) {
    bool reachable = !definition.byte_level;  // an added token, or a text that spells no bytes, comes from no bytes
    if (definition.byte_level && !is_added[id]) {
      if (auto bytes = bytes_of_byte_level(texts_[id])) {
        texts_[id] = std::move(*bytes);
        reachable = true;
      }
    }
    const auto number = static_cast<std::int32_t>(id);
    if (!texts_[id].empty() && reachable) ids_.emplace(texts_[id], number);
    if (definition.byte_level && reachable && texts_[id].size() == 1)
      bytes_[static_cast<unsigned char>(texts_[id][0])] = number;
    if (!definition.byte_fallback) continue;
    if (const auto byte = fallback_byte(texts_[id])) {
      bytes_[*byte] = number;
      byte_of_.emplace(number, *byte);
    }
  }
}

std::int32_t Vocabulary::find(std::string_view text) const {
  const auto it = ids_.find(text);
  return it == ids_.end() ? -1 : it->second;
}

std::optional<unsigned char> Vocabulary::byte_of(std::int32_t id) const {
  const auto it = byte_of_.find(id);
  return it == byte_of_.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace headlight::formats::tokenizer
