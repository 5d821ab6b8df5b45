// The same vocabularies from GGUF metadata and from the older files of a model folder; what is wrong with such files.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "core/formats/gguf_writer.h"
#include "tests/support/raw_gguf.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"
#include "tests/tokenizer/golden_check.h"

namespace headlight::formats {
namespace {

using namespace testing_support;

constexpr const char* kPrefix = "tokenizer.ggml.";

std::string merge_text(const Json& merge) {
  return merge.is_string() ? merge.get<std::string>() : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
}

/// Metadata of a GGUF file with a tokenizer.
struct Metadata {
  std::map<std::string, GgufValue> keys;
  GgufValue& operator[](const std::string& name) { return keys[kPrefix + name]; }

  std::unique_ptr<Tokenizer> tokenizer() const {
    GgufWriter writer;
    writer.add("general.architecture", {std::string("llama")});
    for (const auto& [key, value] : keys) writer.add(key, value);
    const auto bytes = writer.bytes();
    return make_tokenizer(GgufFile::parse(bytes, bytes.size(), "a.gguf"));
  }
};

/// A trained vocabulary as converters write it. @param model  tokenizer.ggml.model; @param pre  empty = none
Metadata metadata_of(const std::string& name, const std::string& model, const std::string& pre) {
  const Json json = load_json(kFolder + name + ".json", kLimits);
  const Json expected = load_json(kFolder + name + ".expected.json", kLimits);
  const Json& vocab = json.at("model").at("vocab");
  std::size_t size = vocab.size();
  for (const Json& added : json.at("added_tokens")) size = std::max(size, added.at("id").get<std::size_t>() + 1);
  GgufValue::Strings tokens(size);
  GgufValue::Integers types(size, 1);
  for (const auto& [text, id] : vocab.items()) {
    tokens.at(id.get<std::size_t>()) = text;
    if (model == "llama" && text.size() == 6 && text.starts_with("<0x")) types.at(id.get<std::size_t>()) = 6;
  }
  for (const Json& added : json.at("added_tokens")) {
    const auto id = added.at("id").get<std::size_t>();
    tokens.at(id) = added.at("content").get<std::string>();
    types.at(id) = added.at("special").get<bool>() ? 3 : 4;
  }
  Metadata metadata;
  metadata["model"].value = model;
  if (!pre.empty()) metadata["pre"].value = pre;
  if (model == "gpt2") {
    GgufValue::Strings merges;
    for (const Json& merge : json.at("model").at("merges")) merges.push_back(merge_text(merge));
    metadata["merges"].value = merges;
  } else if (model == "llama") {
    GgufValue::Floats scores(size, -1e6);
    double rank = 0;  // a piece's score orders the merges that make it
    for (const Json& merge : json.at("model").at("merges")) {
      std::string piece = merge_text(merge);
      piece.erase(piece.find(' ', 1), 1);
      double& score = scores.at(vocab.at(piece).get<std::size_t>());
      if (score == -1e6) score = rank--;
    }
    metadata["scores"].value = scores;
    metadata["unknown_token_id"].value = vocab.at("<unk>").get<std::int64_t>();
  } else {
    for (std::size_t id = 0; id < size; ++id) {
      if (types[id] != 1) continue;
      tokens[id] = tokens[id].starts_with("##") ? tokens[id].substr(2) : "\xE2\x96\x81" + tokens[id];
    }
    metadata["unknown_token_id"].value = vocab.at("[UNK]").get<std::int64_t>();
    metadata["cls_token_id"].value = vocab.at("[CLS]").get<std::int64_t>();
    metadata["seperator_token_id"].value = vocab.at("[SEP]").get<std::int64_t>();
  }
  const bool has_bos = !expected.at("prefix").empty();
  if (has_bos) metadata["bos_token_id"].value = expected.at("prefix")[0].get<std::int64_t>();
  metadata["add_bos_token"].value = has_bos;
  metadata["tokens"].value = tokens;
  metadata["token_type"].value = types;
  return metadata;
}

struct GgufForm {
  const char *name, *model, *pre;
};
class GgufVocabulary : public testing::TestWithParam<GgufForm> {};

TEST_P(GgufVocabulary, EqualsTheReference) {
  Metadata metadata = metadata_of(GetParam().name, GetParam().model, GetParam().pre);
  if (std::string_view(GetParam().name) == "spm_gemma") metadata["add_space_prefix"].value = false;
  // What an added token does to the spaces beside it, and whether it must be a word of its own, is not in GGUF.
  check_goldens(*metadata.tokenizer(), GetParam().name, {"<mask>", "foobar", "<|user|>", "[MASK]"});
}

INSTANTIATE_TEST_SUITE_P(Forms, GgufVocabulary,
                         testing::Values(GgufForm{"bpe_gpt2", "gpt2", "gpt-2"}, GgufForm{"bpe_gpt2", "gpt2", ""},
                                         GgufForm{"bpe_smollm", "gpt2", "smollm"},
                                         GgufForm{"bpe_llama3", "gpt2", "llama-bpe"},
                                         GgufForm{"bpe_qwen2", "gpt2", "qwen2"},
                                         GgufForm{"bpe_o200k", "gpt2", "gpt-4o"}, GgufForm{"spm_llama", "llama", ""},
                                         GgufForm{"spm_gemma", "llama", ""}, GgufForm{"wordpiece", "bert", ""}),
                         [](const auto& form) {
                           return std::string(form.param.name) + (*form.param.pre == 0 ? "_unnamed" : "");
                         });

TEST(GgufTokenizer, WhatIsWrongIsNamed) {
  const auto refuse = [](const char* model, const char* name, const std::function<void(Metadata&)>& change, Errc code,
                         std::initializer_list<std::string_view> mentions) {
    Metadata metadata = metadata_of(name, model, "");
    change(metadata);
    expect_refused([&] { metadata.tokenizer(); }, code, mentions);
  };
  const auto drop = [](const char* key) { return [key](Metadata& m) { m.keys.erase(std::string(kPrefix) + key); }; };
  refuse("gpt2", "bpe_gpt2", [](Metadata& m) { m["model"].value = std::string("replit"); }, Errc::unsupported,
         {"tokenizer.ggml.model", "replit"});
  refuse("gpt2", "bpe_gpt2", [](Metadata& m) { m["pre"].value = std::string("nobody-knows"); }, Errc::unsupported,
         {"nobody-knows"});
  refuse("gpt2", "bpe_gpt2", drop("tokens"), Errc::bad_format, {"tokenizer.ggml.tokens", "missing"});
  refuse("gpt2", "bpe_gpt2", drop("merges"), Errc::bad_format, {"tokenizer.ggml.merges", "missing"});
  refuse("gpt2", "bpe_gpt2", [](Metadata& m) { m["merges"].value = GgufValue::Strings{"ab"}; }, Errc::bad_format,
         {"tokenizer.ggml.merges", "separated by a space", "'ab'"});
  refuse("gpt2", "bpe_gpt2",
         [](Metadata& m) {
           m["token_type"].value = GgufValue::Integers{1, 1};
         },
         Errc::bad_format, {"tokenizer.ggml.token_type", "expected 514 entries, found 2"});
  refuse("gpt2", "bpe_gpt2", [](Metadata& m) { std::get<GgufValue::Integers>(m["token_type"].value)[7] = 9; },
         Errc::bad_format, {"tokenizer.ggml.token_type", "found 9 for token 7"});
  refuse("llama", "spm_llama", drop("scores"), Errc::bad_format, {"tokenizer.ggml.scores", "missing"});
  refuse("llama", "spm_llama", [](Metadata& m) { m["scores"].value = GgufValue::Floats{1.0}; }, Errc::bad_format,
         {"tokenizer.ggml.scores", "expected 600 entries, found 1"});
  for (const char* key : {"bos_token_id", "unknown_token_id"})
    refuse("llama", "spm_llama", [&](Metadata& m) { m[key].value = std::int64_t{600}; }, Errc::bad_format, {"600"});
  refuse("gpt2", "bpe_gpt2", [](Metadata& m) { m["eos_token_id"].value = std::int64_t{1 << 30}; }, Errc::bad_format,
         {"1073741824"});
}

/// A folder with the files that older models have.
class Folder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  void write_pair(const std::string& name) {
    const Json model = load_json(kFolder + name + ".json", kLimits).at("model");
    write("vocab.json", model.at("vocab").dump());
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : model.at("merges")) merges += merge_text(merge) + "\n";
    write("merges.txt", merges);
  }
  void refuse(Errc code, std::initializer_list<std::string_view> mentions) {
    expect_refused([&] { load_tokenizer(folder_.path()); }, code, mentions);
  }
  TempFolder folder_;
};

TEST_F(Folder, VocabularyAndMerges) {
  write_pair("bpe_gpt2");
  const auto tokenizer = load_tokenizer(folder_.path()), whole = trained("bpe_gpt2");
  for (const Json& text : load_json(kFolder + "strings.json", kLimits)) {
    const auto string = text.get<std::string>();
    if (string.find("<mask>") != std::string::npos || string.find("foobar") != std::string::npos) continue;
    EXPECT_EQ(ids_of(tokenizer->encode(string)), ids_of(whole->encode(string))) << string;
  }
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_ids(), std::vector<std::int32_t>{0});
}

TEST_F(Folder, WordPieceList) {
  const Json vocab = load_json(kFolder + "wordpiece.json", kLimits).at("model").at("vocab");
  std::vector<std::string> lines(vocab.size());
  for (const auto& [text, id] : vocab.items()) lines.at(id.get<std::size_t>()) = text;
  std::string text;
  for (const std::string& line : lines) text += line + "\r\n";
  write("vocab.txt", text);
  check_goldens(*load_tokenizer(folder_.path()), "wordpiece", {"[MASK]"});  // nor here
}

TEST_F(Folder, GenerationConfigNamesTheEnds) {
  write_pair("bpe_gpt2");
  write("config.json", R"({"eos_token_id": 9})");
  write("generation_config.json", R"({"bos_token_id": 3, "eos_token_id": [5, 6, -1, 100000]})");
  const auto tokenizer = load_tokenizer(folder_.path());
  EXPECT_EQ(tokenizer->eos_ids(), (std::vector<std::int32_t>{0, 5, 6}));
  EXPECT_EQ(tokenizer->bos_id(), 0);  // the vocabulary's own
}

TEST_F(Folder, TokenizerConfigNamesTokens) {
  write_pair("bpe_gpt2");
  write("tokenizer_config.json", R"({"bos_token": {"content": "!"}, "eos_token": "\""})");
  const auto tokenizer = load_tokenizer(folder_.path());
  const Json vocab = load_json((folder_ / "vocab.json").string(), kLimits);
  EXPECT_EQ(tokenizer->bos_id(), vocab.at("!").get<std::int32_t>());
  EXPECT_EQ(tokenizer->eos_ids().back(), vocab.at("\"").get<std::int32_t>());
}

TEST_F(Folder, WhatIsWrongIsNamedWithItsFile) {
  refuse(Errc::not_found, {folder_.path().string(), "tokenizer.json"});
  write("tokenizer.model", "x");
  refuse(Errc::unsupported, {"tokenizer.model", "tokenizer.json"});
  write_pair("bpe_gpt2");
  write("merges.txt", "#version: 0.2\nab\n");
  refuse(Errc::bad_format, {"merges.txt", "ab"});
  write_pair("bpe_gpt2");
  write("vocab.json", R"({"a":0,"b":0})");
  refuse(Errc::bad_format, {"vocab.json"});
  write("vocab.json", "[");
  refuse(Errc::bad_format, {"vocab.json"});
  write_pair("bpe_gpt2");
  write("generation_config.json", "[]");
  refuse(Errc::bad_format, {"generation_config.json", "object"});
  write("generation_config.json", R"({"eos_token_id": "end"})");
  refuse(Errc::bad_format, {"generation_config.json", "eos_token_id"});
  write("generation_config.json", "{}");
  write("tokenizer_config.json", R"({"bos_token": {"content": 7}})");
  refuse(Errc::bad_format, {"tokenizer_config.json", "content"});
}

}  // namespace
}  // namespace headlight::formats
