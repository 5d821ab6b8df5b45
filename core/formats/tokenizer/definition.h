#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace headlight::formats::tokenizer {

/// A token that is found in the text before the model sees it.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false;                 ///< a control token: only where the caller asks for it
  bool single_word = false;             ///< not inside a word
  bool lstrip = false, rstrip = false;  ///< swallows white space at that side
  bool normalized = false;              ///< looked for in the normalised text
};

// Steps that rewrite the text; the names are those of tokenizer.json.
struct UnicodeForm {
  enum class Kind { nfc, nfd, nfkc, nfkd } kind = Kind::nfc;
};
struct Lowercase {};
struct StripAccents {};
struct ReplaceText {
  std::string pattern, content;
};
struct PrependText {
  std::string text;
};
struct StripSpace {
  bool left = true, right = true;
};
struct BertClean {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
};
using NormalizerStep =
    std::variant<UnicodeForm, Lowercase, StripAccents, ReplaceText, PrependText, StripSpace, BertClean>;

// Steps that cut the text into pieces.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };
struct SplitRegex {
  std::string pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};
struct SplitText {
  std::string text;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};
struct SplitDigits {
  bool individual = false;
};
struct PrefixSpace {};  ///< a space in front of every piece that does not begin with one
struct Metaspace {
  std::string replacement;
  enum class Prepend { always, first, never } prepend = Prepend::always;
  bool split = true;
};
struct SplitWhitespace {
  bool words_only = false;
};  ///< words_only: `\w+|[^\w\s]+`
struct SplitBert {};
struct SplitPunctuation {
  SplitBehavior behavior = SplitBehavior::isolated;
};
using PreTokenizerStep = std::variant<SplitRegex, SplitText, SplitDigits, PrefixSpace, Metaspace, SplitWhitespace,
                                      SplitBert, SplitPunctuation>;

enum class ModelKind {
  bpe_ranks,   ///< merges in order
  bpe_scores,  ///< any two pieces whose concatenation is a token; the highest score first
  word_piece,  ///< greedy longest prefix
};

/// A tokenizer as data, the same whether it came from a GGUF file or a tokenizer.json.
struct Definition {
  ModelKind kind = ModelKind::bpe_ranks;
  std::string family;          ///< "smollm", "llama", ...: for the description
  bool byte_level = false;     ///< vocabulary spells bytes as printable characters
  bool byte_fallback = false;  ///< unknown characters become <0xHH> tokens
  bool fuse_unknown = false;
  bool ignore_merges = false;       ///< a whole piece that is a token is taken as it is
  std::vector<std::string> tokens;  ///< [V] as stored; empty = hole
  std::vector<float> scores;        ///< [V], bpe_scores only
  std::vector<std::pair<std::string, std::string>> merges;
  std::string continuing_prefix = "##";
  std::int64_t max_word_chars = 100;
  std::optional<std::int32_t> unknown_id;
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<std::int32_t> prefix_ids, suffix_ids;  ///< what add_special puts around a text
  bool decode_strips_space = false;                  ///< one leading space of the decoded text is the prefix space
  bool decode_word_piece = false;
  std::optional<std::int32_t> bos_id;
  std::vector<std::int32_t> eos_ids;
};

}  // namespace headlight::formats::tokenizer
