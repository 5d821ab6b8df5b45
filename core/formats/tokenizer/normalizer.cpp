#include "core/formats/tokenizer/normalizer.h"

#include <memory>

#include <utf8proc.h>

#include "base/error.h"

namespace headlight::formats::tokenizer {
namespace {

std::string in_form(std::string_view text, UnicodeForm::Kind kind) {
  int options = UTF8PROC_STABLE;
  if (kind == UnicodeForm::Kind::nfc || kind == UnicodeForm::Kind::nfkc)
    options |= UTF8PROC_COMPOSE;
  else
    options |= UTF8PROC_DECOMPOSE;
  if (kind == UnicodeForm::Kind::nfkc || kind == UnicodeForm::Kind::nfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* out = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  HEADLIGHT_CHECK(size >= 0);
  return {reinterpret_cast<const char*>(out), static_cast<std::size_t>(size)};
}

/// Where a normal form of `text` may be cut: before a starter that does not combine with what stands in front.
bool can_cut(std::string_view text, std::size_t begin, std::size_t at) {
  const CodePoint next = code_point_at(text, at);
  if (next.value < 0x80) return true;
  const auto* property = utf8proc_get_property(next.value);
  if (property->combining_class != 0) return false;
  // Second halves of compositions among starters: Hangul vowels and finals, and some Indic vowel signs.
  if ((next.value >= 0x1161 && next.value <= 0x11FF)) return false;
  if (next.value < 0x0900 || property->comb_index == UINT16_MAX) return true;
  const auto joined =
      in_form(text.substr(begin, at + static_cast<std::size_t>(next.size) - begin), UnicodeForm::Kind::nfc);
  return joined == in_form(text.substr(begin, at - begin), UnicodeForm::Kind::nfc) +
                       in_form(text.substr(at, static_cast<std::size_t>(next.size)), UnicodeForm::Kind::nfc);
}

AlignedText apply(const AlignedText& in, const UnicodeForm& step) {
  AlignedText out;
  for (std::size_t begin = 0; begin < in.text.size();) {
    std::size_t end = begin + static_cast<std::size_t>(code_point_at(in.text, begin).size);
    while (end < in.text.size() && !can_cut(in.text, begin, end))
      end += static_cast<std::size_t>(code_point_at(in.text, end).size);
    const std::string_view chunk = std::string_view(in.text).substr(begin, end - begin);
    const bool ascii = chunk.size() == 1;
    const std::string changed = ascii ? std::string(chunk) : in_form(chunk, step.kind);
    if (changed == chunk)
      out.append(in, begin, end);
    else
      out.append(changed, in.source_of(begin, end));
    begin = end;
  }
  return out;
}

/// Applies a function to every code point: it appends the replacement (possibly nothing).
template <class F>
AlignedText map_code_points(const AlignedText& in, F&& rewrite) {
  AlignedText out;
  std::string replaced;
  for (std::size_t at = 0; at < in.text.size();) {
    const CodePoint c = code_point_at(in.text, at);
    const std::size_t end = at + static_cast<std::size_t>(c.size);
    replaced.clear();
    rewrite(c.value, replaced);
    if (replaced == std::string_view(in.text).substr(at, end - at))
      out.append(in, at, end);
    else if (!replaced.empty())
      out.append(replaced, in.source_of(at, end));
    at = end;
  }
  return out;
}

AlignedText apply(const AlignedText& in, const Lowercase&) {
  return map_code_points(in, [](std::int32_t c, std::string& out) {
    if (c == 0x130)
      out += "i\xCC\x87";  // the one letter whose lower case is two code points
    else
      append_utf8(out, utf8proc_tolower(c));
  });
}

AlignedText apply(const AlignedText& in, const StripAccents&) {
  return map_code_points(in, [](std::int32_t c, std::string& out) {
    if (utf8proc_category(c) != UTF8PROC_CATEGORY_MN) append_utf8(out, c);
  });
}

AlignedText apply(const AlignedText& in, const ReplaceText& step) {
  AlignedText out;
  for (std::size_t at = 0; at < in.text.size();) {
    const std::size_t found = std::min(in.text.find(step.pattern, at), in.text.size());
    out.append(in, at, found);
    at = found;
    if (found == in.text.size()) break;
    out.append(step.content, in.source_of(found, found + step.pattern.size()));
    at += step.pattern.size();
  }
  return out;
}

AlignedText apply(const AlignedText& in, const PrependText& step) {
  if (in.text.empty()) return in;
  AlignedText out;
  out.append(step.text, {in.source.front().begin, in.source.front().begin});
  out.append(in, 0, in.text.size());
  return out;
}

AlignedText apply(const AlignedText& in, const StripSpace& step) {
  std::size_t begin = 0, end = in.text.size();
  while (step.left && begin < end && is_white_space(code_point_at(in.text, begin).value))
    begin += static_cast<std::size_t>(code_point_at(in.text, begin).size);
  while (step.right && end > begin) {
    std::size_t last = end - 1;
    while ((static_cast<unsigned char>(in.text[last]) & 0xC0) == 0x80) --last;
    if (!is_white_space(code_point_at(in.text, last).value)) break;
    end = last;
  }
  return in.slice(begin, end);
}

bool is_control(std::int32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
      return true;
    default:
      return false;
  }
}

bool is_ideograph(std::int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

AlignedText apply(const AlignedText& in, const BertClean& step) {
  AlignedText out = in;
  if (step.clean_text)
    out = map_code_points(out, [](std::int32_t c, std::string& text) {
      if (c == 0 || c == 0xFFFD || is_control(c)) return;
      if (is_white_space(c))
        text += ' ';
      else
        append_utf8(text, c);
    });
  if (step.handle_chinese_chars)
    out = map_code_points(out, [](std::int32_t c, std::string& text) {
      if (is_ideograph(c)) text += ' ';
      append_utf8(text, c);
      if (is_ideograph(c)) text += ' ';
    });
  if (step.strip_accents) out = apply(apply(out, UnicodeForm{UnicodeForm::Kind::nfd}), StripAccents{});
  if (step.lowercase) out = apply(out, Lowercase{});
  return out;
}

}  // namespace

AlignedText normalize(AlignedText text, const std::vector<NormalizerStep>& steps) {
  for (const auto& step : steps) text = std::visit([&](const auto& s) { return apply(text, s); }, step);
  return text;
}

}  // namespace headlight::formats::tokenizer
