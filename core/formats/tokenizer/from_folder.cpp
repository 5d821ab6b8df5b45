#include <algorithm>
#include <sstream>

#include "base/file.h"
#include "core/formats/fail.h"
#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/from_json.h"
#include "core/formats/tokenizer/pipeline.h"
#include "core/formats/tokenizer/pre_tokenizer.h"

namespace headlight::formats {
namespace tokenizer {
namespace {

constexpr JsonLimits kTokenizerLimits{.max_bytes = 256u << 20, .max_depth = 64};

/// What `read` makes of a file; its errors name the file.
template <class Read>
auto in_file(const std::filesystem::path& path, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
}

void require_object(const Json& json) {
  if (!json.is_object()) bad_format({}, "expected an object, found {}", json.type_name());
}

std::optional<std::int32_t> id_of(const Definition& definition, std::string_view text) {
  for (const auto& token : definition.added)
    if (token.content == text) return token.id;
  const auto it = std::find(definition.tokens.begin(), definition.tokens.end(), text);
  return it == definition.tokens.end() ? std::nullopt
                                       : std::optional(static_cast<std::int32_t>(it - definition.tokens.begin()));
}

/// A token named as "text" or {"content": "text"}.
std::string token_text(const Json& config, const char* key) {
  const Json* value = json_find(config, key);
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  return value->is_object() ? json_string_or(*value, "content", "", key) : std::string();
}

void add_eos(Definition& definition, std::int64_t id) {
  const auto value = static_cast<std::int32_t>(std::clamp<std::int64_t>(id, -1, INT32_MAX));
  if (std::find(definition.eos_ids.begin(), definition.eos_ids.end(), value) == definition.eos_ids.end())
    definition.eos_ids.push_back(value);
}

void read_tokenizer_config(const std::filesystem::path& folder, Definition& definition) {
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const auto path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    in_file(path, [&] {
      const Json config = load_json(path.string(), kTokenizerLimits);
      require_object(config);
      if (const std::string bos = token_text(config, "bos_token"); !bos.empty())
        definition.bos_id = id_of(definition, bos);
      if (const std::string eos = token_text(config, "eos_token"); !eos.empty())
        if (const auto id = id_of(definition, eos)) add_eos(definition, *id);
    });
  }
}

/// The ids under `key`, one or a list; those that the vocabulary does not have are left out (padded models name some).
std::vector<std::int32_t> ids_under(const Json& config, const char* key, const Definition& definition) {
  const Json* value = json_find(config, key);
  if (value == nullptr || value->is_null()) return {};
  std::vector<std::int32_t> ids;
  for (const Json& id : value->is_array() ? *value : Json::array({*value})) {
    if (!id.is_number_integer())
      bad_format({.field = key, .offset = {}, .hint = {}}, "expected token ids, found {}", id.type_name());
    if (id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < std::ssize(definition.tokens))
      ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

/// generation_config.json (and config.json) may name several ids that end a generation.
void read_generation_config(const std::filesystem::path& folder, Definition& definition) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const auto path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    const bool names_ends = in_file(path, [&] {
      const Json config = load_json(path.string(), kTokenizerLimits);
      require_object(config);
      const auto bos = ids_under(config, "bos_token_id", definition);
      if (!bos.empty() && !definition.bos_id) definition.bos_id = bos.front();
      for (const std::int32_t id : ids_under(config, "eos_token_id", definition)) add_eos(definition, id);
      return json_find(config, "eos_token_id") != nullptr;
    });
    if (names_ends) return;  // generation_config.json wins
  }
}

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  std::istringstream text(read_text_file(path, kTokenizerLimits.max_bytes));
  for (std::string line; std::getline(text, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

/// GPT-2's original pair of files.
Definition read_vocab_and_merges(const std::filesystem::path& folder) {
  Json model;
  model["type"] = "BPE";
  model["vocab"] = in_file(folder / "vocab.json", [&] {
    Json vocab = load_json((folder / "vocab.json").string(), kTokenizerLimits);
    require_object(vocab);
    return vocab;
  });
  Json merges = Json::array();
  for (const auto& line : lines_of(folder / "merges.txt"))
    if (!line.empty() && !line.starts_with("#version")) {
      if (line.find(' ', 1) == std::string::npos)
        in_file(folder / "merges.txt",
                [&] { bad_format({}, "expected two tokens separated by a space, found '{}'", line); });
      merges.push_back(line);
    }
  model["merges"] = std::move(merges);
  Json json;
  json["model"] = std::move(model);
  Definition definition = in_file(folder / "vocab.json", [&] { return read_tokenizer_json(json); });
  definition.byte_level = true;
  definition.family = "gpt-2";
  definition.pre_tokenizer = pre_tokenizer_by_name("gpt-2");
  if (const auto id = id_of(definition, "<|endoftext|>")) {
    definition.added.push_back({.id = *id, .content = "<|endoftext|>", .special = true});
    definition.bos_id = *id;
    add_eos(definition, *id);
  }
  return definition;
}

/// BERT's vocab.txt: a token per line.
Definition read_vocab_txt(const std::filesystem::path& folder) {
  Definition definition;
  definition.kind = ModelKind::word_piece;
  definition.decode_word_piece = true;
  definition.tokens = lines_of(folder / "vocab.txt");
  definition.normalizer.push_back(BertClean{});
  definition.pre_tokenizer.push_back(SplitBert{});
  for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    if (const auto id = id_of(definition, name))
      definition.added.push_back({.id = *id, .content = name, .special = true});
  definition.unknown_id = id_of(definition, "[UNK]");
  if (const auto id = id_of(definition, "[CLS]")) definition.prefix_ids = {*id};
  if (const auto id = id_of(definition, "[SEP]")) definition.suffix_ids = {*id};
  return definition;
}

Definition read_folder(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto has = [&](const char* name) { return std::filesystem::exists(folder / name, ignored); };
  if (has("tokenizer.json")) {
    const auto path = folder / "tokenizer.json";
    return in_file(path, [&] { return read_tokenizer_json(load_json(path.string(), kTokenizerLimits)); });
  }
  if (has("vocab.json") && has("merges.txt")) return read_vocab_and_merges(folder);
  if (has("vocab.txt")) return read_vocab_txt(folder);
  if (has("tokenizer.model"))
    fail(Errc::unsupported, {.field = "tokenizer.model", .offset = {}, .hint = "convert it to tokenizer.json"},
         "a bare SentencePiece model is not supported");
  throw Error(Errc::not_found, "holds no tokenizer.json, vocab.json with merges.txt, or vocab.txt",
              {.file = folder.string(), .field = {}, .offset = {}, .hint = {}});
}

}  // namespace
}  // namespace tokenizer

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  tokenizer::Definition definition = tokenizer::read_folder(folder);
  tokenizer::read_tokenizer_config(folder, definition);
  tokenizer::read_generation_config(folder, definition);
  return tokenizer::in_file(folder, [&] { return tokenizer::make_pipeline(std::move(definition)); });
}

}  // namespace headlight::formats
