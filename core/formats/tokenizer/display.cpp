#include <fmt/format.h>

#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/aligned_text.h"

namespace headlight::formats {
namespace {

/// Marks that change the direction of text or are invisible: shown as their code point.
bool is_invisible(std::int32_t c) {
  return (c >= 0x80 && c < 0xA0) || c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

}  // namespace

std::string display_piece(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto check = tokenizer::check_sequence(bytes, at);
    if (check.valid == 0) {
      for (int i = 0; i < check.ill_formed; ++i)
        text += fmt::format("<0x{:02X}>", static_cast<unsigned char>(bytes[at++]));
      continue;
    }
    const auto c = tokenizer::code_point_at(bytes, at);
    if (c.value == ' ')
      text += "\xC2\xB7";  // middle dot
    else if (c.value < 0x20)
      tokenizer::append_utf8(text, 0x2400 + c.value);  // control pictures
    else if (c.value == 0x7F)
      tokenizer::append_utf8(text, 0x2421);
    else if (is_invisible(c.value))
      text += fmt::format("<U+{:04X}>", c.value);
    else
      text.append(bytes.substr(at, static_cast<std::size_t>(c.size)));
    at += static_cast<std::size_t>(c.size);
  }
  return text;
}

}  // namespace headlight::formats
