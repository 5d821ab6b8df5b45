#include "core/formats/tokenizer/aligned_text.h"

#include <algorithm>

#include <utf8proc.h>

namespace headlight::formats::tokenizer {

SequenceCheck check_sequence(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {1, 0};
  int size = 0;
  unsigned char low = 0x80, high = 0xBF;  // allowed second byte
  if (lead >= 0xC2 && lead <= 0xDF)
    size = 2;
  else if (lead >= 0xE0 && lead <= 0xEF) {
    size = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {0, 1};
  }
  for (int i = 1; i < size; ++i) {
    if (at + static_cast<std::size_t>(i) >= text.size()) return {0, i};
    const unsigned char next = byte(at + static_cast<std::size_t>(i));
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {0, i};
  }
  return {size, 0};
}

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::int32_t>(static_cast<unsigned char>(text[at + i])); };
  const std::int32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

void append_utf8(std::string& text, std::int32_t code_point) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(code_point, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

bool is_white_space(std::int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word_character(std::int32_t c) {
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool is_punctuation(std::int32_t c) {
  if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126)) return true;
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

AlignedText AlignedText::from_original(std::string_view original, std::int64_t& num_invalid) {
  AlignedText result;
  result.text.reserve(original.size());
  result.source.reserve(original.size());
  for (std::size_t at = 0; at < original.size();) {
    const SequenceCheck check = check_sequence(original, at);
    const auto begin = static_cast<std::int64_t>(at);
    if (check.valid == 0) {
      ++num_invalid;
      result.append("\xEF\xBF\xBD", {begin, begin + check.ill_formed});
      at += static_cast<std::size_t>(check.ill_formed);
      continue;
    }
    for (int i = 0; i < check.valid; ++i)
      result.append(original.substr(at + static_cast<std::size_t>(i), 1), {begin + i, begin + i + 1});
    at += static_cast<std::size_t>(check.valid);
  }
  return result;
}

AlignedText AlignedText::slice(std::size_t begin, std::size_t end) const {
  AlignedText part;
  part.append(*this, begin, end);
  return part;
}

void AlignedText::append(std::string_view bytes, Source from) {
  text.append(bytes);
  source.insert(source.end(), bytes.size(), from);
}

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
  text.append(other.text, begin, end - begin);
  source.insert(source.end(), other.source.begin() + static_cast<std::ptrdiff_t>(begin),
                other.source.begin() + static_cast<std::ptrdiff_t>(end));
}

AlignedText::Source AlignedText::source_of(std::size_t begin, std::size_t end) const {
  Source all{-1, -1};
  for (std::size_t i = begin; i < end; ++i) {
    if (source[i].begin == source[i].end) continue;
    if (all.begin < 0) all.begin = source[i].begin;
    all.end = std::max(all.end, source[i].end);
  }
  if (all.begin >= 0) return all;
  return begin < source.size() ? Source{source[begin].begin, source[begin].begin} : Source{0, 0};
}

}  // namespace headlight::formats::tokenizer
