#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace headlight::formats::tokenizer {

/// Well-formed UTF-8 that remembers, byte for byte, where it came from.
struct AlignedText {
  struct Source {
    std::int64_t begin = 0, end = 0;  ///< bytes of the original text; begin == end: inserted there
  };
  std::string text;
  std::vector<Source> source;  ///< [text.size()]

  /// The original with every maximal ill-formed sequence replaced by U+FFFD; `num_invalid` counts them.
  static AlignedText from_original(std::string_view original, std::int64_t& num_invalid);

  AlignedText slice(std::size_t begin, std::size_t end) const;
  void append(std::string_view bytes, Source from);  ///< all bytes from one place
  void append(const AlignedText& other, std::size_t begin, std::size_t end);

  /// Where the range came from: from the first to the last byte that was not inserted, or an empty range in place.
  Source source_of(std::size_t begin, std::size_t end) const;
};

/// Code point at `at` (well-formed text) and its length in bytes.
struct CodePoint {
  std::int32_t value = 0;
  int size = 1;
};
CodePoint code_point_at(std::string_view text, std::size_t at);
void append_utf8(std::string& text, std::int32_t code_point);

/// Length of the well-formed sequence at `at`; 0 and the length of the maximal ill-formed part otherwise.
struct SequenceCheck {
  int valid = 0, ill_formed = 0;
};
SequenceCheck check_sequence(std::string_view text, std::size_t at);

bool is_white_space(std::int32_t code_point);  ///< Unicode White_Space
bool is_word_character(std::int32_t code_point);
bool is_punctuation(std::int32_t code_point);  ///< ASCII symbols and Unicode P*

}  // namespace headlight::formats::tokenizer
