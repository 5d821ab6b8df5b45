#include "core/formats/tokenizer/pipeline.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/log.h"
#include "core/formats/fail.h"
#include "core/formats/tokenizer/added_tokens.h"
#include "core/formats/tokenizer/normalizer.h"
#include "core/formats/tokenizer/pre_tokenizer.h"
#include "core/formats/tokenizer/vocabulary.h"
#include "core/formats/tokenizer/word_model.h"

namespace headlight::formats::tokenizer {
namespace {

constexpr std::string_view kLowerOneEighthBlock = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::vector<AddedToken> tokens_where(const Definition& definition, bool normalized) {
  std::vector<AddedToken> chosen;
  for (AddedToken token : definition.added) {
    if (token.normalized != normalized || token.content.empty()) continue;
    if (normalized) {
      std::int64_t ignored = 0;
      token.content = normalize(AlignedText::from_original(token.content, ignored), definition.normalizer).text;
    }
    chosen.push_back(std::move(token));
  }
  return chosen;
}

/// Character index of byte offsets of the original; an ill-formed sequence counts as one character.
class CharacterIndex {
 public:
  explicit CharacterIndex(std::string_view text) : index_(text.size() + 1) {
    std::int64_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
      const SequenceCheck check = check_sequence(text, at);
      for (int i = check.valid + check.ill_formed; i > 0; --i) index_[at++] = count;
    }
    index_[text.size()] = count;
  }
  std::int64_t of(std::int64_t byte) const { return index_[static_cast<std::size_t>(byte)]; }

 private:
  std::vector<std::int64_t> index_;
};

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(Definition definition)
      : definition_(std::move(definition)),
        vocabulary_(definition_),
        raw_finder_(tokens_where(definition_, false)),
        normalized_finder_(tokens_where(definition_, true)),
        pre_tokenizer_(definition_.pre_tokenizer) {
    std::int64_t num_bad_merges = 0;
    model_ = definition_.kind == ModelKind::word_piece ? make_word_piece(definition_, vocabulary_)
                                                       : make_bpe(definition_, vocabulary_, num_bad_merges);
    if (num_bad_merges > 0)
      log_warning(fmt::format("tokenizer: {} merges name unknown tokens and are left out", num_bad_merges));
    added_of_id_.assign(definition_.tokens.size(), nullptr);
    for (const auto& token : definition_.added) added_of_id_[static_cast<std::size_t>(token.id)] = &token;
    definition_.merges.clear();
    definition_.merges.shrink_to_fit();
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    Encoding encoding;
    const AlignedText whole = AlignedText::from_original(text, encoding.num_invalid_sequences);
    if (options.add_special) add_frame(definition_.prefix_ids, encoding);
    const auto accept = [&](const AddedToken& token, AlignedText::Source place) {
      if (!token.special) return true;
      if (!options.parse_special) return false;
      return std::none_of(options.literal.begin(), options.literal.end(), [&](const auto& range) {
        return place.begin < static_cast<std::int64_t>(range.second) &&
               place.end > static_cast<std::int64_t>(range.first);
      });
    };
    for_stretches(whole, raw_finder_, accept, encoding, [&](const AlignedText& stretch, bool is_start) {
      const AlignedText normal = normalize(stretch, definition_.normalizer);
      for_stretches(normal, normalized_finder_, accept, encoding, [&](const AlignedText& part, bool part_starts) {
        encode_stretch(part, is_start && part_starts, encoding);
      });
    });
    if (options.add_special) add_frame(definition_.suffix_ids, encoding);
    set_characters(text, encoding);
    return encoding;
  }

  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special) const override {
    std::string text;
    bool first_is_text = false, any = false;
    for (const std::int32_t id : ids) {
      check_id(id);
      if (skip_special && is_special(id)) continue;
      const bool is_added = added_of_id_[static_cast<std::size_t>(id)] != nullptr;
      if (!any) first_is_text = !is_added;
      text += definition_.decode_word_piece ? word_of(id, !any) : piece(id);
      any = true;
    }
    if (definition_.decode_strips_space && first_is_text && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  std::string piece(std::int32_t id) const override {
    check_id(id);
    const std::string& stored = vocabulary_.text(id);
    if (is_special(id) || definition_.byte_level) return stored;
    if (const auto byte = vocabulary_.byte_of(id)) return std::string(1, static_cast<char>(*byte));
    if (definition_.kind == ModelKind::word_piece) return stored;
    std::string text = stored;
    for (std::size_t at = 0; (at = text.find(kLowerOneEighthBlock, at)) != std::string::npos; ++at)
      text.replace(at, kLowerOneEighthBlock.size(), " ");
    return text;
  }

  std::int64_t vocab_size() const override { return vocabulary_.size(); }
  bool is_special(std::int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return false;
    const AddedToken* token = added_of_id_[static_cast<std::size_t>(id)];
    return token != nullptr && token->special;
  }
  std::optional<std::int32_t> find(std::string_view token_text) const override {
    for (const auto& token : definition_.added)
      if (token.content == token_text) return token.id;
    const std::int32_t id = vocabulary_.find(token_text);
    return id < 0 ? std::nullopt : std::optional(id);
  }
  std::optional<std::int32_t> bos_id() const override { return definition_.bos_id; }
  std::vector<std::int32_t> eos_ids() const override { return definition_.eos_ids; }
  bool adds_bos() const override {
    return definition_.bos_id && std::find(definition_.prefix_ids.begin(), definition_.prefix_ids.end(),
                                           *definition_.bos_id) != definition_.prefix_ids.end();
  }
  std::string description() const override {
    const char* kind = definition_.kind == ModelKind::word_piece ? "WordPiece"
                       : definition_.byte_level                  ? "byte-level BPE"
                                                                 : "SentencePiece BPE";
    return definition_.family.empty() ? fmt::format("{}, {} tokens", kind, vocab_size())
                                      : fmt::format("{} ({}), {} tokens", kind, definition_.family, vocab_size());
  }

 private:
  void check_id(std::int32_t id) const {
    if (id < 0 || id >= vocab_size())
      fail(Errc::invalid_argument, {.field = "token id", .offset = {}, .hint = {}}, "expected 0-{}, found {}",
           vocab_size() - 1, id);
  }

  TokenKind kind_of(std::int32_t id) const {
    if (definition_.bos_id == id) return TokenKind::bos;
    if (std::find(definition_.eos_ids.begin(), definition_.eos_ids.end(), id) != definition_.eos_ids.end())
      return TokenKind::eos;
    return is_special(id) ? TokenKind::special : TokenKind::text;
  }

  void add_frame(const std::vector<std::int32_t>& ids, Encoding& encoding) const {
    for (const std::int32_t id : ids) {
      Token token;
      token.id = id;
      token.kind = kind_of(id);
      if (token.kind == TokenKind::text) token.kind = TokenKind::special;
      encoding.tokens.push_back(token);
    }
  }

  /// Calls `on_text` for what lies between added tokens, and emits these.
  template <class Accept, class OnText>
  void for_stretches(const AlignedText& text, const AddedTokenFinder& finder, Accept&& accept, Encoding& encoding,
                     OnText&& on_text) const {
    if (finder.empty()) {
      if (!text.text.empty()) on_text(text, true);
      return;
    }
    std::size_t at = 0;
    const auto matches = finder.find(text.text, [&](const AddedToken& token, std::size_t begin, std::size_t end) {
      return accept(token, text.source_of(begin, end));
    });
    for (const AddedMatch& match : matches) {
      if (match.begin > at) on_text(text.slice(at, match.begin), at == 0);
      const auto source = text.source_of(match.begin, match.end);
      Token token;
      token.id = match.token->id;
      token.kind = kind_of(token.id);
      token.byte_begin = source.begin;
      token.byte_end = source.end;
      encoding.tokens.push_back(token);
      at = match.end;
    }
    if (at < text.text.size()) on_text(text.slice(at, text.text.size()), at == 0);
  }

  void encode_stretch(const AlignedText& stretch, bool is_start, Encoding& encoding) const {
    std::vector<PieceToken> found;
    for (const AlignedText& piece : pre_tokenizer_.split(stretch, is_start)) {
      found.clear();
      model_->encode(piece.text, found);
      for (const PieceToken& part : found) {
        const auto source = piece.source_of(part.begin, part.end);
        if (part.id < 0) {
          encoding.num_dropped_bytes += part.end - part.begin;
          continue;
        }
        Token token;
        token.id = part.id;
        token.kind = kind_of(part.id);
        token.byte_begin = source.begin;
        token.byte_end = source.end;
        token.is_unknown = part.is_unknown;
        token.is_byte_piece = part.is_byte;
        encoding.tokens.push_back(token);
      }
    }
  }

  void set_characters(std::string_view text, Encoding& encoding) const {
    const CharacterIndex index(text);
    for (Token& token : encoding.tokens) {
      if (token.byte_begin < 0) continue;
      token.char_begin = index.of(token.byte_begin);
      token.char_end = token.byte_end > token.byte_begin ? index.of(token.byte_end - 1) + 1 : token.char_begin;
      const auto is_boundary = [&](std::int64_t byte) {
        return byte == 0 || byte == static_cast<std::int64_t>(text.size()) || index.of(byte) != index.of(byte - 1);
      };
      if (!is_boundary(token.byte_begin) || !is_boundary(token.byte_end)) token.is_byte_piece = true;
    }
  }

  /// One token of a WordPiece text: joined to the word before, or after a space that punctuation takes out again.
  std::string word_of(std::int32_t id, bool is_first) const {
    const std::string& stored = vocabulary_.text(id);
    if (is_first) return stored;
    if (stored.starts_with(definition_.continuing_prefix)) return stored.substr(definition_.continuing_prefix.size());
    constexpr std::string_view no_space_before[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    const bool joins =
        std::find(std::begin(no_space_before), std::end(no_space_before), stored) != std::end(no_space_before);
    return (joins ? "" : " ") + stored;
  }

  Definition definition_;
  Vocabulary vocabulary_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<WordModel> model_;
  std::vector<const AddedToken*> added_of_id_;
};

void check_ids(const Definition& definition) {
  const auto size = static_cast<std::int64_t>(definition.tokens.size());
  const auto check = [&](std::int64_t id, const char* what) {
    if (id < 0 || id >= size)
      bad_format({.field = what, .offset = {}, .hint = {}}, "expected an id within 0-{}, found {}", size - 1, id);
  };
  for (const auto& token : definition.added) check(token.id, "added token id");
  for (const auto id : definition.prefix_ids) check(id, "token id added in front");
  for (const auto id : definition.suffix_ids) check(id, "token id added at the end");
  for (const auto id : definition.eos_ids) check(id, "eos token id");
  if (definition.bos_id) check(*definition.bos_id, "bos token id");
  if (definition.unknown_id) check(*definition.unknown_id, "unknown token id");
}

}  // namespace

std::unique_ptr<Tokenizer> make_pipeline(Definition definition) {
  if (definition.tokens.empty())
    bad_format({.field = "tokenizer", .offset = {}, .hint = {}}, "the vocabulary is empty");
  check_ids(definition);
  return std::make_unique<Pipeline>(std::move(definition));
}

}  // namespace headlight::formats::tokenizer
