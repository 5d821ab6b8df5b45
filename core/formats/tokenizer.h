#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headlight::formats {

class GgufFile;

enum class TokenKind : std::uint8_t {
  text = 0,
  bos = 1,
  eos = 2,
  special = 3,
  image = 4,
  audio = 5,
  generated = 6,
  padding = 7
};

/// One token with its place in the text that was given. Spans are half-open; -1 = no source (inserted by the
/// tokenizer).
struct Token {
  std::int32_t id = 0;
  std::int64_t byte_begin = -1, byte_end = -1;  ///< bytes of the original UTF-8
  std::int64_t char_begin = -1, char_end = -1;  ///< code points; a token inside a character spans the whole character
  TokenKind kind = TokenKind::text;
  bool is_byte_piece = false;  ///< a part of a character (byte fallback or split byte-level symbol)
  bool is_unknown = false;
};

struct EncodeOptions {
  bool add_special = true;    ///< BOS, EOS, [CLS], [SEP] as the tokenizer says
  bool parse_special = true;  ///< control tokens written in the text ("<|im_start|>") become that token
  std::vector<std::pair<std::size_t, std::size_t>> literal;  ///< byte ranges in which they do not (user text of a chat)
};

struct Encoding {
  std::vector<Token> tokens;
  std::int64_t num_invalid_sequences = 0;  ///< ill-formed UTF-8 runs, each treated as U+FFFD
  std::int64_t num_dropped_bytes = 0;      ///< bytes without any token in the vocabulary
};

/// Text to token ids and back, with exact spans. Immutable after construction; safe to share between threads.
///
/// Guarantees: spans of text tokens are non-decreasing and inside the text; decode(encode(x)) == x for byte-level and
/// byte-fallback vocabularies when no byte is missing; a word of n bytes costs O(n log n).
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual Encoding encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  /// Text of a sequence of ids; invalid ids throw Error{invalid_argument}. The result may be ill-formed UTF-8 when a
  /// character was cut.
  virtual std::string decode(const std::vector<std::int32_t>& ids, bool skip_special = false) const = 0;

  /// Raw bytes that one token stands for (byte-level symbols and U+2581 are undone); may be a part of a character.
  virtual std::string piece(std::int32_t id) const = 0;

  virtual std::int64_t vocab_size() const = 0;
  virtual bool is_special(std::int32_t id) const = 0;
  virtual std::optional<std::int32_t> find(std::string_view token_text) const = 0;  ///< id of a special or stored token

  virtual std::optional<std::int32_t> bos_id() const = 0;
  virtual std::vector<std::int32_t> eos_ids() const = 0;  ///< every id that ends generation
  virtual bool adds_bos() const = 0;
  virtual std::string description() const = 0;  ///< "byte-level BPE (smollm), 49152 tokens"
};

/// Printable form of piece(): control characters and spaces as symbols, ill-formed bytes as <0xHH>.
std::string display_piece(std::string_view bytes);

/// @param pre_override  name of the pre-tokenizer to use instead of the file's; empty = the file's
/// @error bad_format, unsupported (model or pre-tokenizer not known: the sentence lists the known ones)
std::unique_ptr<Tokenizer> make_tokenizer(const GgufFile& file, std::string_view pre_override = {});

/// From a Hugging Face folder: tokenizer.json (+ tokenizer_config.json, generation_config.json), or vocab.json +
/// merges.txt, or vocab.txt. @error not_found, bad_format, unsupported naming the pipeline node
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace headlight::formats
