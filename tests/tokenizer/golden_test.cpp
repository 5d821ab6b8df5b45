// Token ids, spans and decoded text of tokenizer.json files and of real models against the reference.

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "core/formats/gguf.h"
#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/aligned_text.h"
#include "core/formats/tokenizer/from_json.h"
#include "core/formats/tokenizer/pipeline.h"
#include "tests/tokenizer/golden_check.h"

namespace headlight::formats {
namespace {

using namespace testing_support;

class TrainedVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(TrainedVocabulary, EqualsTheReference) {
  check_goldens(*trained(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Goldens, TrainedVocabulary,
                         testing::Values("bpe_gpt2", "bpe_smollm", "bpe_llama3", "bpe_qwen2", "bpe_o200k", "spm_llama",
                                         "spm_llama_metaspace", "spm_gemma", "wordpiece"),
                         [](const auto& param) { return std::string(param.param); });

std::unique_ptr<Tokenizer> of_real_model(const char* file) {
  const char* store = std::getenv("HEADLIGHT_MODELS");
  const auto path = std::filesystem::path(store != nullptr ? store : "") / file;
  if (store == nullptr || !std::filesystem::exists(path)) return nullptr;
  return make_tokenizer(GgufFile::open(path));
}

TEST(RealVocabulary, SmolLM2EqualsTheReference) {
  const auto tokenizer = of_real_model("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!tokenizer) GTEST_SKIP() << "SmolLM2-135M-Instruct.Q4_1.gguf is not in $HEADLIGHT_MODELS";
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_EQ(ids_of(tokenizer->encode("Hello world")), (std::vector<std::int32_t>{19556, 905}));
  EXPECT_EQ(ids_of(tokenizer->encode("<|im_start|>user")), (std::vector<std::int32_t>{1, 4093}));
  const auto dropped = tokenizer->encode(
      "a\x04"
      "b");
  EXPECT_EQ(dropped.num_dropped_bytes, 1);
  check_goldens(*tokenizer, "smollm2");
}

TEST(RealVocabulary, Gemma3EqualsTheReference) {
  const auto tokenizer = of_real_model("gemma-3-270m-q4_k_m.gguf");
  if (!tokenizer) GTEST_SKIP() << "gemma-3-270m-q4_k_m.gguf is not in $HEADLIGHT_MODELS";
  EXPECT_EQ(ids_of(tokenizer->encode("Hello world")), (std::vector<std::int32_t>{2, 9259, 1902}));
  check_goldens(*tokenizer, "gemma3");
}

class RandomText : public testing::TestWithParam<const char*> {};

TEST_P(RandomText, SurvivesEncodingAndDecoding) {
  const auto tokenizer = trained(GetParam());
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (auto n = random() % 40; n > 0; --n) {
      constexpr std::int32_t bases[] = {0x20, 0x41, 0xE0, 0x300, 0x600, 0x4E00, 0xAC00, 0x1F600};
      tokenizer::append_utf8(text, bases[random() % 8] + static_cast<std::int32_t>(random() % 60));
    }
    const auto encoding = tokenizer->encode(text, {.add_special = false, .parse_special = false, .literal = {}});
    check_spans(text, encoding);
    if (encoding.num_dropped_bytes == 0) {
      EXPECT_EQ(tokenizer->decode(ids_of(encoding)), text) << "round " << round;
    }
  }
}

TEST_P(RandomText, IllFormedBytesNeverBreakAnything) {
  const auto tokenizer = trained(GetParam());
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (auto n = random() % 60; n > 0; --n) text += static_cast<char>(random() & 0xFF);
    check_spans(text, tokenizer->encode(text));
  }
}

INSTANTIATE_TEST_SUITE_P(Bytes, RandomText, testing::Values("bpe_gpt2", "bpe_llama3", "spm_gemma"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Spans, IllFormedSequencesAreOneCharacterEach) {
  const auto tokenizer = trained("bpe_gpt2");
  const std::string text =
      "a\xC3"
      "b";
  const auto encoding = tokenizer->encode(text);
  EXPECT_EQ(encoding.num_invalid_sequences, 1);
  EXPECT_EQ(encoding.tokens.back().byte_begin, 2);
  EXPECT_EQ(encoding.tokens.back().char_begin, 2);
}

TEST(Spans, LiteralRangesKeepControlTokensOut) {
  const auto tokenizer = trained("bpe_qwen2");
  const std::string text = "<|im_start|>x<|im_start|>";
  EXPECT_EQ(tokenizer->encode(text).tokens.back().id, 1);
  EXPECT_NE(tokenizer->encode(text, {.add_special = true, .parse_special = true, .literal = {{13, text.size()}}})
                .tokens.back()
                .id,
            1);
  EXPECT_EQ(tokenizer->encode(text, {.add_special = true, .parse_special = true, .literal = {{13, text.size()}}})
                .tokens.front()
                .id,
            1);
}

#ifdef __SANITIZE_ADDRESS__
constexpr std::chrono::seconds kHostileLimit{20};
#else
constexpr std::chrono::seconds kHostileLimit{2};
#endif

TEST(Hostile, LongWordsAndRunsAreNotQuadratic) {
  for (const char* name : {"bpe_gpt2", "spm_gemma", "wordpiece"}) {
    const auto tokenizer = trained(name);
    for (const std::string& text :
         {std::string(1 << 20, 'a'), std::string(1 << 20, '\n'), std::string(1 << 20, '\0')}) {
      const auto begin = std::chrono::steady_clock::now();
      check_spans(text, tokenizer->encode(text));
      EXPECT_LT(std::chrono::steady_clock::now() - begin, kHostileLimit) << name;
    }
  }
}

std::string refusal(const std::string& json) {
  try {
    tokenizer::make_pipeline(tokenizer::read_tokenizer_json(parse_json(json, kLimits)));
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Hostile, BadTokenizerFilesAreRefusedInOneSentence) {
  const auto model = [](const std::string& vocab, const std::string& merges, const std::string& rest = "") {
    return R"({"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":)" + merges + "}" + rest + "}";
  };
  EXPECT_EQ(refusal(model(R"({"a":0,"b":1})", "[]")), "accepted");
  EXPECT_EQ(refusal(model(R"({"a":0,"b":1})", R"([["a","zz"]])")), "accepted")
      << "merges of unknown tokens are left out";
  for (const std::string& bad :
       {std::string("{}"), std::string(R"({"model":{"type":"Unigram","vocab":[]}})"), model(R"({"a":-1})", "[]"),
        model(R"({"a":0,"b":0})", "[]"), model(R"({"a":2147483648})", "[]"), model(R"({"a":"x"})", "[]"),
        model(R"({"a":0})", R"(["ab"])"), model(R"({"a":0})", "[7]"), model("{}", "[]"),
        model(R"({"a":0})", "[]", R"(,"added_tokens":[{"id":1,"content":""}])"),
        model(R"({"a":0})", "[]", R"(,"added_tokens":[{"id":-4,"content":"x"}])"),
        model(R"({"a":0})", "[]", R"(,"normalizer":{"type":"Precompiled"})"),
        model(R"({"a":0})", "[]", R"(,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a+)+$"}})"),
        model(R"({"a":0})", "[]", R"(,"pre_tokenizer":{"type":"Nonsense"})"),
        model(R"({"a":0})", "[]",
              R"(,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[X]"}}]})"),
        model("{\"" + std::string(5000, 'a') + "\":0}", "[]")})
    EXPECT_NE(refusal(bad), "accepted") << bad.substr(0, 100);
}

std::unique_ptr<Tokenizer> from_text(const std::string& json) {
  return tokenizer::make_pipeline(tokenizer::read_tokenizer_json(parse_json(json, kLimits)));
}

TEST(Hostile, OddVocabulariesStillEncode) {
  const auto gaps = from_text(R"({"model":{"type":"BPE","vocab":{"a":0,"b":7},"merges":[]}})");
  EXPECT_EQ(gaps->vocab_size(), 8);
  EXPECT_EQ(ids_of(gaps->encode("ab")), (std::vector<std::int32_t>{0, 7}));
  EXPECT_EQ(gaps->piece(3), "");
  const auto empty_text = from_text(R"({"model":{"type":"BPE","vocab":{"":0,"a":1},"merges":[]}})");
  EXPECT_EQ(ids_of(empty_text->encode("aa")), (std::vector<std::int32_t>{1, 1}));
  const auto overlapping = from_text(
      R"({"model":{"type":"BPE","vocab":{"a":0,"<":1,">":2},"merges":[]},"added_tokens":[
          {"id":3,"content":"<a>","special":true},{"id":4,"content":"<a>a","special":true},
          {"id":5,"content":"a><","special":true}]})");
  EXPECT_EQ(ids_of(overlapping->encode("<a>a<a><a")), (std::vector<std::int32_t>{4, 3, 1, 0})) << "longest, leftmost";
}

TEST(Hostile, MissingBytePiecesBecomeUnknown) {
  const std::string json = R"({"model":{"type":"BPE","unk_token":"<unk>","byte_fallback":true,)"
                           R"("vocab":{"<unk>":0,"a":1,"<0xC3>":2},"merges":[]}})";
  const auto tokenizer = from_text(json);
  const auto encoding = tokenizer->encode(
      "a\xC3\xA9"
      "a");  // <0xA9> is not there
  check_spans(
      "a\xC3\xA9"
      "a",
      encoding);
  EXPECT_EQ(encoding.tokens.front().id, 1);
  EXPECT_EQ(encoding.tokens.back().id, 1);
}

TEST(Hostile, MillionsOfMergesAndMarksTakeLinearTime) {
  std::string merges;
  for (int k = 0; k < 1'000'000; ++k) merges += (k == 0 ? "\"" : ",\"") + std::to_string(k) + " x\"";
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = from_text(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[)" + merges + "]}}");
  EXPECT_EQ(ids_of(tokenizer->encode("ab")), (std::vector<std::int32_t>{0, 1}));
  std::string marks = "e";
  for (int k = 0; k < 100'000; ++k) marks += "\xCC\x81";
  for (const char* name : {"bpe_gpt2", "bpe_qwen2", "spm_llama", "wordpiece"})
    check_spans(marks, trained(name)->encode(marks));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kHostileLimit);
}

TEST(Hostile, LoneSurrogatesAreNoText) {
  EXPECT_NE(refusal(R"({"model":{"type":"BPE","vocab":{"\ud800":0},"merges":[]}})"), "accepted");
}

TEST(Display, MakesEveryByteVisible) {
  EXPECT_EQ(display_piece(" a\n"),
            "\xC2\xB7"
            "a\xE2\x90\x8A");
  EXPECT_EQ(display_piece("\xFF"), "<0xFF>");
  EXPECT_EQ(display_piece("\xE2\x80\xAE"), "<U+202E>");
}

}  // namespace
}  // namespace headlight::formats
