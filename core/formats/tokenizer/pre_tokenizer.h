#pragma once

#include <memory>

#include "core/formats/tokenizer/aligned_text.h"
#include "core/formats/tokenizer/definition.h"

namespace headlight::formats::tokenizer {

/// Cuts text into the pieces that the model tokenises one by one. Immutable; safe to share between threads.
class PreTokenizer {
 public:
  /// @error bad_format when a pattern does not compile
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);
  ~PreTokenizer();

  /// @param is_start  the text begins at the beginning of the prompt (not after an added token)
  /// @error failed when a pattern exceeds its match limit
  std::vector<AlignedText> split(const AlignedText& text, bool is_start) const;

 private:
  struct Compiled;
  std::vector<PreTokenizerStep> steps_;
  std::vector<std::unique_ptr<Compiled>> compiled_;  // one per step, null where no pattern is used
};

/// The pattern steps that a `tokenizer.ggml.pre` name or a pattern of tokenizer.json stands for.
/// @error unsupported, listing the names that are known
std::vector<PreTokenizerStep> pre_tokenizer_by_name(std::string_view name);
bool is_known_pattern(std::string_view pattern);
extern const char* const kGpt2Pattern;

}  // namespace headlight::formats::tokenizer
