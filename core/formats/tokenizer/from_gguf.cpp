#include <algorithm>

#include "core/formats/fail.h"
#include "core/formats/gguf.h"
#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/pipeline.h"
#include "core/formats/tokenizer/pre_tokenizer.h"

namespace headlight::formats {
namespace tokenizer {
namespace {

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

std::optional<std::int32_t> id_of(const GgufFile& file, const char* key) {
  const auto value = file.integer(key);
  if (!value || *value < 0 || *value > INT32_MAX) return std::nullopt;  // -1 is written for "none"
  return static_cast<std::int32_t>(*value);
}

void read_vocabulary(const GgufFile& file, Definition& definition) {
  const auto* tokens = file.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr)
    bad_format({.field = "tokenizer.ggml.tokens", .offset = {}, .hint = {}}, "is required but missing");
  definition.tokens = *tokens;
  const auto* types = file.integers("tokenizer.ggml.token_type");
  if (types == nullptr) return;
  if (types->size() != tokens->size())
    bad_format({.field = "tokenizer.ggml.token_type", .offset = {}, .hint = {}}, "expected {} entries, found {}",
               tokens->size(), types->size());
  for (std::size_t id = 0; id < types->size(); ++id) {
    const auto type = (*types)[id];
    if (type < 0 || type > kByte)
      bad_format({.field = "tokenizer.ggml.token_type", .offset = {}, .hint = {}},
                 "expected types 0-6, found {} for token {}", type, id);
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    definition.added.push_back(
        {.id = static_cast<std::int32_t>(id), .content = (*tokens)[id], .special = type != kUserDefined});
  }
}

void read_merges(const GgufFile& file, Definition& definition) {
  const auto* merges = file.strings("tokenizer.ggml.merges");
  if (merges == nullptr)
    bad_format({.field = "tokenizer.ggml.merges", .offset = {}, .hint = {}}, "is required but missing");
  for (const auto& merge : *merges) {
    const auto space = merge.find(' ', 1);
    if (space == std::string::npos)
      bad_format({.field = "tokenizer.ggml.merges", .offset = {}, .hint = {}},
                 "expected two tokens separated by a space, found '{}'", merge);
    definition.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
}

void define_byte_level(const GgufFile& file, std::string_view pre_override, Definition& definition) {
  const auto* stored = file.string("tokenizer.ggml.pre");
  const std::string name = !pre_override.empty() ? std::string(pre_override) : stored != nullptr ? *stored : "gpt-2";
  definition.byte_level = true;
  definition.family = name;
  definition.pre_tokenizer = pre_tokenizer_by_name(name == "default" ? "gpt-2" : name);
  definition.ignore_merges = name == "llama-bpe" || name == "llama3" || name == "llama-v3";
  // GGUF has no key for a normaliser: those that were trained with one are known by name.
  if (name == "qwen2") definition.normalizer.push_back(UnicodeForm{UnicodeForm::Kind::nfc});
  read_merges(file, definition);
}

void define_sentence_piece(const GgufFile& file, Definition& definition) {
  definition.kind = ModelKind::bpe_scores;
  definition.byte_fallback = true;
  definition.family = "sentencepiece";
  const auto* scores = file.floats("tokenizer.ggml.scores");
  if (scores == nullptr)
    bad_format({.field = "tokenizer.ggml.scores", .offset = {}, .hint = {}}, "is required but missing");
  if (scores->size() != definition.tokens.size())
    bad_format({.field = "tokenizer.ggml.scores", .offset = {}, .hint = {}}, "expected {} entries, found {}",
               definition.tokens.size(), scores->size());
  definition.scores.assign(scores->begin(), scores->end());
  const bool prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  if (prefix) definition.normalizer.push_back(PrependText{"\xE2\x96\x81"});
  definition.normalizer.push_back(ReplaceText{" ", "\xE2\x96\x81"});
  definition.decode_strips_space = prefix;
}

/// GGUF spells word-initial pieces with U+2581 and continuations bare.
void define_word_piece(Definition& definition) {
  constexpr std::string_view mark = "\xE2\x96\x81";
  definition.kind = ModelKind::word_piece;
  definition.decode_word_piece = true;
  for (std::size_t id = 0; id < definition.tokens.size(); ++id) {
    std::string& text = definition.tokens[id];
    const bool is_added = std::any_of(definition.added.begin(), definition.added.end(),
                                      [&](const AddedToken& t) { return t.id == static_cast<std::int32_t>(id); });
    if (is_added) continue;
    text = text.starts_with(mark) ? text.substr(mark.size()) : definition.continuing_prefix + text;
  }
  definition.normalizer.push_back(BertClean{});
  definition.pre_tokenizer.push_back(SplitBert{});
}

void read_frame(const GgufFile& file, bool add_bos, bool add_eos, Definition& definition) {
  definition.bos_id = id_of(file, "tokenizer.ggml.bos_token_id");
  // A byte that a byte-level vocabulary lacks is dropped, as the reference implementations do, even when an id is
  // named.
  if (!definition.byte_level) definition.unknown_id = id_of(file, "tokenizer.ggml.unknown_token_id");
  const auto eos = id_of(file, "tokenizer.ggml.eos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (const auto id = id_of(file, key);
        id && std::find(definition.eos_ids.begin(), definition.eos_ids.end(), *id) == definition.eos_ids.end())
      definition.eos_ids.push_back(*id);
  if (file.boolean("tokenizer.ggml.add_bos_token").value_or(add_bos) && definition.bos_id)
    definition.prefix_ids.push_back(*definition.bos_id);
  if (file.boolean("tokenizer.ggml.add_eos_token").value_or(add_eos) && eos) definition.suffix_ids.push_back(*eos);
}

}  // namespace
}  // namespace tokenizer

std::unique_ptr<Tokenizer> make_tokenizer(const GgufFile& file, std::string_view pre_override) {
  const std::string* model = file.string("tokenizer.ggml.model");
  if (model == nullptr || *model == "no_vocab" || *model == "none") return nullptr;
  tokenizer::Definition definition;
  tokenizer::read_vocabulary(file, definition);
  bool add_bos = false, add_eos = false;
  if (*model == "gpt2") {
    tokenizer::define_byte_level(file, pre_override, definition);
    add_bos = definition.ignore_merges;
  } else if (*model == "llama") {
    tokenizer::define_sentence_piece(file, definition);
    add_bos = true;
  } else if (*model == "bert") {
    tokenizer::define_word_piece(definition);
    add_bos = true;
  } else {
    fail(Errc::unsupported, {.field = "tokenizer.ggml.model", .offset = {}, .hint = {}},
         "expected gpt2, llama or bert, found '{}'", *model);
  }
  tokenizer::read_frame(file, add_bos, add_eos, definition);
  if (*model == "bert") {  // [CLS] and [SEP]
    if (const auto cls = tokenizer::id_of(file, "tokenizer.ggml.cls_token_id")) definition.prefix_ids = {*cls};
    if (const auto sep = tokenizer::id_of(file, "tokenizer.ggml.seperator_token_id")) definition.suffix_ids = {*sep};
  }
  return tokenizer::make_pipeline(std::move(definition));
}

}  // namespace headlight::formats
