#include "core/formats/tokenizer/from_json.h"

#include <algorithm>
#include <set>

#include "core/formats/fail.h"
#include "core/formats/tokenizer/pre_tokenizer.h"

namespace headlight::formats::tokenizer {
namespace {

constexpr std::int64_t kMaxVocab = std::int64_t{1} << 21;
constexpr std::size_t kMaxMerges = std::size_t{1} << 22;
constexpr std::size_t kMaxTokenBytes = 4096;

[[noreturn]] void unsupported(const std::string& path, std::string_view what) {
  fail(Errc::unsupported, {.field = path, .offset = {}, .hint = {}}, "'{}' is not supported", what);
}

const Json& list_of(const Json& node, std::string_view key, const std::string& path) {
  const Json* list = json_find(node, key, path);
  if (list == nullptr || !list->is_array())
    bad_format({.field = path + "." + std::string(key), .offset = {}, .hint = {}}, "expected a list");
  return *list;
}

/// {"String": text} or {"Regex": pattern}.
std::pair<bool, std::string> pattern_of(const Json& node, const std::string& path) {
  const Json* pattern = json_find(node, "pattern", path);
  if (pattern == nullptr) bad_format({.field = path + ".pattern", .offset = {}, .hint = {}}, "is required but missing");
  if (pattern->is_string()) return {false, pattern->get<std::string>()};
  if (json_find(*pattern, "String", path + ".pattern") != nullptr)
    return {false, json_string(*pattern, "String", path + ".pattern")};
  return {true, json_string(*pattern, "Regex", path + ".pattern")};
}

SplitBehavior behavior_of(const Json& node, const std::string& path) {
  const std::string name = json_string_or(node, "behavior", "Isolated", path);
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  unsupported(path + ".behavior", name);
}

void read_normalizer(const Json& node, const std::string& path, Definition& definition) {
  const std::string type = json_string(node, "type", path);
  auto& steps = definition.normalizer;
  if (type == "Sequence")
    for (const Json& child : list_of(node, "normalizers", path))
      read_normalizer(child, path + ".normalizers", definition);
  else if (type == "NFC")
    steps.push_back(UnicodeForm{UnicodeForm::Kind::nfc});
  else if (type == "NFD")
    steps.push_back(UnicodeForm{UnicodeForm::Kind::nfd});
  else if (type == "NFKC")
    steps.push_back(UnicodeForm{UnicodeForm::Kind::nfkc});
  else if (type == "NFKD")
    steps.push_back(UnicodeForm{UnicodeForm::Kind::nfkd});
  else if (type == "Lowercase")
    steps.push_back(Lowercase{});
  else if (type == "StripAccents")
    steps.push_back(StripAccents{});
  else if (type == "Prepend")
    steps.push_back(PrependText{json_string(node, "prepend", path)});
  else if (type == "Strip")
    steps.push_back(
        StripSpace{json_bool_or(node, "strip_left", true, path), json_bool_or(node, "strip_right", true, path)});
  else if (type == "Replace") {
    const auto [is_regex, pattern] = pattern_of(node, path);
    if (is_regex || pattern.empty()) unsupported(path, "Replace with a regular expression");
    steps.push_back(ReplaceText{pattern, json_string(node, "content", path)});
  } else if (type == "BertNormalizer") {
    const bool lowercase = json_bool_or(node, "lowercase", true, path);
    steps.push_back(BertClean{json_bool_or(node, "clean_text", true, path),
                              json_bool_or(node, "handle_chinese_chars", true, path),
                              json_bool_or(node, "strip_accents", lowercase, path), lowercase});
  } else {
    unsupported(path, type);
  }
}

void read_split(const Json& node, const std::string& path, Definition& definition) {
  const auto [is_regex, pattern] = pattern_of(node, path);
  const SplitBehavior behavior = behavior_of(node, path);
  const bool invert = json_bool_or(node, "invert", false, path);
  if (pattern.empty()) bad_format({.field = path + ".pattern", .offset = {}, .hint = {}}, "is empty");
  if (!is_regex)
    definition.pre_tokenizer.push_back(SplitText{pattern, behavior, invert});
  else if (is_known_pattern(pattern))
    definition.pre_tokenizer.push_back(SplitRegex{pattern, behavior, invert});
  else
    unsupported(path + ".pattern", pattern);
}

void read_metaspace(const Json& node, const std::string& path, Definition& definition) {
  Metaspace step;
  step.replacement = json_string_or(node, "replacement", "\xE2\x96\x81", path);
  const bool add_prefix = json_bool_or(node, "add_prefix_space", true, path);  // the older spelling of prepend_scheme
  const std::string scheme = json_string_or(node, "prepend_scheme", add_prefix ? "always" : "never", path);
  if (scheme != "always" && scheme != "first" && scheme != "never") unsupported(path + ".prepend_scheme", scheme);
  step.prepend = scheme == "always"  ? Metaspace::Prepend::always
                 : scheme == "first" ? Metaspace::Prepend::first
                                     : Metaspace::Prepend::never;
  step.split = json_bool_or(node, "split", true, path);
  definition.pre_tokenizer.push_back(step);
}

void read_pre_tokenizer(const Json& node, const std::string& path, Definition& definition) {
  const std::string type = json_string(node, "type", path);
  auto& steps = definition.pre_tokenizer;
  if (type == "Sequence")
    for (const Json& child : list_of(node, "pretokenizers", path))
      read_pre_tokenizer(child, path + ".pretokenizers", definition);
  else if (type == "ByteLevel") {
    definition.byte_level = true;
    if (json_bool_or(node, "add_prefix_space", true, path)) steps.push_back(PrefixSpace{});
    if (json_bool_or(node, "use_regex", true, path)) steps.push_back(SplitRegex{.pattern = kGpt2Pattern});
  } else if (type == "Split")
    read_split(node, path, definition);
  else if (type == "Digits")
    steps.push_back(SplitDigits{json_bool_or(node, "individual_digits", false, path)});
  else if (type == "Metaspace")
    read_metaspace(node, path, definition);
  else if (type == "Whitespace")
    steps.push_back(SplitWhitespace{.words_only = true});
  else if (type == "WhitespaceSplit")
    steps.push_back(SplitWhitespace{});
  else if (type == "BertPreTokenizer")
    steps.push_back(SplitBert{});
  else if (type == "Punctuation")
    steps.push_back(SplitPunctuation{behavior_of(node, path)});
  else
    unsupported(path, type);
}

void read_vocabulary(const Json& model, Definition& definition) {
  const Json* vocab = json_find(model, "vocab", "model");
  if (vocab == nullptr || !vocab->is_object())
    bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "expected an object of token texts and ids");
  if (std::ssize(*vocab) > kMaxVocab)
    bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "expected at most {} tokens, found {}", kMaxVocab,
               vocab->size());
  std::vector<bool> taken;
  for (const auto& [text, value] : vocab->items()) {
    if (!value.is_number_integer())
      bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "expected an integer id for token '{}'",
                 text.substr(0, 40));
    const auto id = value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxVocab)
                        ? kMaxVocab
                        : value.get<std::int64_t>();
    if (id < 0 || id >= kMaxVocab)
      bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "expected an id within 0-{} for token '{}'",
                 kMaxVocab - 1, text.substr(0, 40));
    if (text.size() > kMaxTokenBytes)
      bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "token {} has {} bytes, more than {}", id,
                 text.size(), kMaxTokenBytes);
    const auto index = static_cast<std::size_t>(id);
    if (index >= definition.tokens.size()) {
      definition.tokens.resize(index + 1);
      taken.resize(index + 1, false);
    }
    if (taken[index])
      bad_format({.field = "model.vocab", .offset = {}, .hint = {}}, "id {} stands for two tokens, '{}' is the second",
                 id, text.substr(0, 40));
    taken[index] = true;
    definition.tokens[index] = text;
  }
}

void read_merges(const Json& model, Definition& definition) {
  const Json& merges = list_of(model, "merges", "model");
  if (merges.size() > kMaxMerges)
    bad_format({.field = "model.merges", .offset = {}, .hint = {}}, "expected at most {}, found {}", kMaxMerges,
               merges.size());
  definition.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      const auto text = merge.get<std::string>();
      const auto space = text.find(' ', 1);
      if (space == std::string::npos)
        bad_format({.field = "model.merges", .offset = {}, .hint = {}}, "expected two tokens, found '{}'",
                   text.substr(0, 40));
      definition.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      definition.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      bad_format({.field = "model.merges", .offset = {}, .hint = {}}, "expected \"a b\" or [\"a\", \"b\"] at entry {}",
                 definition.merges.size());
    }
  }
}

std::optional<std::int32_t> id_of_token(const Definition& definition, const std::string& text) {
  const auto it = std::find(definition.tokens.begin(), definition.tokens.end(), text);
  if (it == definition.tokens.end()) return std::nullopt;
  return static_cast<std::int32_t>(it - definition.tokens.begin());
}

void read_model(const Json& json, Definition& definition) {
  const Json* model = json_find(json, "model");
  if (model == nullptr) bad_format({.field = "model", .offset = {}, .hint = {}}, "is required but missing");
  const std::string type =
      json_string_or(*model, "type", json_find(*model, "merges", "model") != nullptr ? "BPE" : "WordPiece", "model");
  if (type != "BPE" && type != "WordPiece") unsupported("model.type", type);
  read_vocabulary(*model, definition);
  if (type == "BPE") {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!json_string_or(*model, key, "", "model").empty())
        unsupported(std::string("model.") + key, json_string(*model, key, "model"));
    definition.byte_fallback = json_bool_or(*model, "byte_fallback", false, "model");
    definition.fuse_unknown = json_bool_or(*model, "fuse_unk", false, "model");
    definition.ignore_merges = json_bool_or(*model, "ignore_merges", false, "model");
    read_merges(*model, definition);
  } else {
    definition.kind = ModelKind::word_piece;
    definition.continuing_prefix = json_string_or(*model, "continuing_subword_prefix", "##", "model");
    definition.max_word_chars = json_integer_or(*model, "max_input_chars_per_word", 100, "model");
    definition.decode_word_piece = true;
  }
  const std::string unknown = json_string_or(*model, "unk_token", type == "WordPiece" ? "[UNK]" : "", "model");
  if (!unknown.empty()) definition.unknown_id = id_of_token(definition, unknown);
}

void read_added_tokens(const Json& json, Definition& definition) {
  const Json* list = json_find(json, "added_tokens");
  if (list == nullptr) return;
  if (!list->is_array()) bad_format({.field = "added_tokens", .offset = {}, .hint = {}}, "expected a list");
  for (const Json& entry : *list) {
    AddedToken token;
    const std::int64_t id = json_integer(entry, "id", "added_tokens");
    token.content = json_string(entry, "content", "added_tokens");
    if (id < 0 || id >= kMaxVocab)
      bad_format({.field = "added_tokens.id", .offset = {}, .hint = {}}, "expected 0-{}, found {}", kMaxVocab - 1, id);
    if (token.content.empty())
      bad_format({.field = "added_tokens.content", .offset = {}, .hint = {}},
                 "token {} is empty: it would match everywhere", id);
    if (token.content.size() > kMaxTokenBytes)
      bad_format({.field = "added_tokens.content", .offset = {}, .hint = {}}, "token {} has {} bytes, more than {}", id,
                 token.content.size(), kMaxTokenBytes);
    token.id = static_cast<std::int32_t>(id);
    token.special = json_bool_or(entry, "special", false, "added_tokens");
    token.single_word = json_bool_or(entry, "single_word", false, "added_tokens");
    token.lstrip = json_bool_or(entry, "lstrip", false, "added_tokens");
    token.rstrip = json_bool_or(entry, "rstrip", false, "added_tokens");
    token.normalized = json_bool_or(entry, "normalized", !token.special, "added_tokens");
    if (static_cast<std::size_t>(id) >= definition.tokens.size())
      definition.tokens.resize(static_cast<std::size_t>(id) + 1);
    std::string& stored = definition.tokens[static_cast<std::size_t>(id)];
    if (!stored.empty() && stored != token.content)
      bad_format({.field = "added_tokens", .offset = {}, .hint = {}}, "id {} is '{}' in the vocabulary and '{}' here",
                 id, stored.substr(0, 40), token.content.substr(0, 40));
    stored = token.content;
    definition.added.push_back(std::move(token));
  }
}

std::int32_t special_id(const Json& node, const std::string& name, const Definition& definition,
                        const std::string& path) {
  const Json* table = json_find(node, "special_tokens", path);
  const Json* entry = table != nullptr ? json_find(*table, name, path) : nullptr;
  if (entry != nullptr) {
    const Json& ids = list_of(*entry, "ids", path);
    if (ids.size() == 1 && ids[0].is_number_integer() && ids[0] >= 0 && ids[0] < kMaxVocab)
      return ids[0].get<std::int32_t>();
  }
  const auto id = id_of_token(definition, name);
  if (!id) bad_format({.field = path, .offset = {}, .hint = {}}, "unknown special token '{}'", name);
  return *id;
}

void read_post_processor(const Json& node, const std::string& path, Definition& definition) {
  const std::string type = json_string(node, "type", path);
  if (type == "Sequence")
    for (const Json& child : list_of(node, "processors", path))
      read_post_processor(child, path + ".processors", definition);
  else if (type == "TemplateProcessing") {
    bool after_text = false;
    for (const Json& part : list_of(node, "single", path)) {
      if (json_find(part, "Sequence", path) != nullptr) {
        after_text = true;
      } else if (const Json* special = json_find(part, "SpecialToken", path)) {
        (after_text ? definition.suffix_ids : definition.prefix_ids)
            .push_back(special_id(node, json_string(*special, "id", path), definition, path));
      }
    }
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id_at = [&](const char* key) {
      const Json& pair = list_of(node, key, path);
      if (pair.size() != 2 || !pair[1].is_number_integer())
        bad_format({.field = path + "." + key, .offset = {}, .hint = {}}, "expected [text, id]");
      return static_cast<std::int32_t>(std::clamp<std::int64_t>(pair[1].get<std::int64_t>(), -1, INT32_MAX));
    };
    definition.prefix_ids.push_back(id_at("cls"));
    definition.suffix_ids.push_back(id_at("sep"));
  } else if (type != "ByteLevel") {
    unsupported(path, type);
  }
}

/// The only thing of the decoder that is not known from the rest: whether one leading space is taken off.
bool strips_space(const Json* decoder) {
  if (decoder == nullptr || !decoder->is_object()) return false;
  const std::string type = json_string_or(*decoder, "type", "", "decoder");
  if (type == "Metaspace")
    return json_string_or(*decoder, "prepend_scheme", "always", "decoder") != "never" &&
           json_bool_or(*decoder, "add_prefix_space", true, "decoder");
  if (type == "Strip")
    return json_string_or(*decoder, "content", " ", "decoder") == " " &&
           json_integer_or(*decoder, "start", 0, "decoder") > 0;
  const Json* children = json_find(*decoder, "decoders", "decoder");
  return children != nullptr && children->is_array() &&
         std::any_of(children->begin(), children->end(), [](const Json& child) { return strips_space(&child); });
}

}  // namespace

Definition read_tokenizer_json(const Json& json) {
  Definition definition;
  read_model(json, definition);
  read_added_tokens(json, definition);
  if (const Json* node = json_find(json, "normalizer")) read_normalizer(*node, "normalizer", definition);
  if (const Json* node = json_find(json, "pre_tokenizer")) read_pre_tokenizer(*node, "pre_tokenizer", definition);
  if (const Json* node = json_find(json, "post_processor")) read_post_processor(*node, "post_processor", definition);
  definition.decode_strips_space = strips_space(json_find(json, "decoder"));
  return definition;
}

}  // namespace headlight::formats::tokenizer
