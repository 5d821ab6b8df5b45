// The default real model against transformers on its dequantised weights. Skipped when the file is not in the store.

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "core/engine/engine.h"
#include "core/formats/safetensors.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using capture::CaptureLevel;
using capture::MemoryCapture;
using testing_support::header_of;
using testing_support::input_of;

constexpr std::size_t kTokens = 512;
const std::filesystem::path kFolder = std::filesystem::path(HEADLIGHT_SOURCE_DIR) / "tests" / "golden" / "smollm2";

std::filesystem::path model_path() {
  const char* store = std::getenv("HEADLIGHT_MODELS");
  return store == nullptr ? std::filesystem::path() : std::filesystem::path(store) / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

class SmolLm2 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_path()))
      GTEST_SKIP() << "SmolLM2-135M-Instruct.Q4_1.gguf is not in $HEADLIGHT_MODELS";
  }

  static Engine& engine() {
    static Engine shared(formats::open_model(model_path()), {});
    return shared;
  }
  static Json facts() { return load_json(kFolder / "text512.json"); }

  template <class T>
  static std::vector<T> values(const std::string& name) {
    const auto file = formats::SafetensorsFile::open(kFolder / "text512.safetensors");
    const formats::SafetensorsTensor& tensor = *file.find(name);
    std::vector<T> out(tensor.bytes / sizeof(T));
    InputFile(kFolder / "text512.safetensors").read_at(tensor.offset, std::as_writable_bytes(std::span(out)));
    return out;
  }
};

TEST_F(SmolLm2, LikelihoodAndLogitsOfALicenceText) {
  const auto ids = values<std::int32_t>("token_ids");
  ASSERT_EQ(ids.size(), kTokens);
  const auto vocab = static_cast<std::size_t>(engine().spec().vocab_size);
  std::vector<float> logits(kTokens * vocab);
  Session session(engine());
  session.forward(ids, logits);
  double nll = 0.0;
  for (std::size_t i = 0; i + 1 < kTokens; ++i) {
    const float* z = logits.data() + i * vocab;
    double sum = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(z[v]) - 30.0);
    nll -= (static_cast<double>(z[ids[i + 1]]) - 30.0 - std::log(sum)) / (kTokens - 1);
  }
  EXPECT_NEAR(nll, facts()["nll"].get<double>(), 2e-4);
  EXPECT_NEAR(nll, 2.93558, 2e-4);
  const float* last = logits.data() + (kTokens - 1) * vocab;
  for (const auto& entry : facts()["last"])
    EXPECT_NEAR(last[entry[0].get<std::size_t>()], entry[1].get<double>(), 2e-3);
  const auto head = values<float>("logits_last");
  EXPECT_LT(testing_support::largest_difference(last, head.data(), head.size()), 2e-3f);
}

TEST_F(SmolLm2, StatisticsMapsAndHiddenNorms) {
  const auto ids = values<std::int32_t>("token_ids");
  MemoryCapture capture;
  auto header = header_of(engine(), CaptureLevel::maps);
  run_capture(engine(), {input_of(ids)}, header, {}, capture);
  const Json expected = facts();
  for (const char* id : {"entropy", "first", "pmax"})
    for (int layer = 0; layer < 30; ++layer) {
      const Buffer<float> rows = capture.statistic(0, id, layer);
      for (std::size_t h = 0; h < 9; ++h) {
        double mean = 0.0;
        for (std::size_t i = 0; i < kTokens; ++i) mean += static_cast<double>(rows[h * kTokens + i]) / kTokens;
        EXPECT_NEAR(mean, expected[id][static_cast<std::size_t>(layer)][h].get<double>(), 1e-4)
            << id << " layer " << layer << " head " << h;
      }
    }
  const auto norms = values<float>("hidden_norm");
  const Buffer<float> found = capture.hidden(0, "norm_l2");
  ASSERT_EQ(found.size(), norms.size());
  for (std::size_t k = 0; k < norms.size(); ++k) EXPECT_NEAR(found[k] / norms[k], 1.0, 1e-4);
  const auto attn = values<float>("attn");
  const int layers[] = {0, 14, 29};
  const std::size_t queries[] = {255, 511};
  for (std::size_t l = 0; l < 3; ++l)
    for (std::size_t h = 0; h < 9; ++h) {
      const Buffer<float> dense = capture.dense(0, layers[l], static_cast<int>(h));
      for (std::size_t q = 0; q < 2; ++q)
        EXPECT_LT(testing_support::largest_difference(dense.data() + queries[q] * kTokens,
                                                      attn.data() + ((l * 9 + h) * 2 + q) * kTokens, kTokens),
                  1e-4f);
    }
}

TEST_F(SmolLm2, GreedyTextIsThatOfTransformers) {
  const Json golden = load_json(kFolder / "greedy.json");
  const std::size_t vocab = static_cast<std::size_t>(engine().spec().vocab_size);
  std::vector<float> logits(vocab);
  for (const auto& run : golden["runs"]) {
    const auto prompt = run["prompt_ids"].get<std::vector<std::int32_t>>(),
               ids = run["ids"].get<std::vector<std::int32_t>>();
    Session session(engine());
    session.forward(prompt, logits);
    for (std::size_t step = 0; step < ids.size(); ++step) {
      // The reference's token is fed, so that one close call does not hide what follows.
      const auto best = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (run["gap"][step].get<double>() >= 0.01) {
        EXPECT_EQ(best, ids[step]) << "step " << step;
      }
      double sum = 0.0;
      for (const float z : logits) sum += std::exp(static_cast<double>(z) - 30.0);
      const double logprob = static_cast<double>(logits[static_cast<std::size_t>(ids[step])]) - 30.0 - std::log(sum);
      EXPECT_NEAR(logprob, run["logprob"][step].get<double>(), 0.02) << "step " << step;
      if (step + 1 < ids.size()) session.forward(std::span(ids).subspan(step, 1), logits);
    }
  }
}

TEST_F(SmolLm2, GenerateStopsAfterAnEndToken) {
  const Json golden = load_json(kFolder / "greedy.json");
  const auto& run = golden["runs"][0];  // the reference goes on after id 2, which ends the text
  const auto prompt = run["prompt_ids"].get<std::vector<std::int32_t>>(),
             ids = run["ids"].get<std::vector<std::int32_t>>();
  const auto found = generate(engine(), prompt, 64, {});
  ASSERT_NE(engine().model().tokenizer, nullptr);
  const auto ends = engine().model().tokenizer->eos_ids();
  const auto end = std::find_first_of(ids.begin(), ids.end(), ends.begin(), ends.end());
  ASSERT_EQ(found.size(), static_cast<std::size_t>(end - ids.begin()) + 1);
  for (std::size_t t = 0; t < found.size(); ++t) EXPECT_EQ(found[t].id, ids[t]);
}

TEST_F(SmolLm2, InfoNamesTheVocabulary) {
  // Made in Python from the pieces of the reference tokenizer.
  EXPECT_EQ(engine().model_info().tokenizer_sha256, "b3988a473a2824c04b1c8fd9c51e7b85e2236008a78e2c15de78450484f1e761");
}

}  // namespace
}  // namespace headlight::engine
