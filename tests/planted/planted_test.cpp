#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "core/engine/engine.h"
#include "core/planted/planted_model.h"
#include "tests/support/refusal.h"
#include "tests/support/temp_folder.h"

namespace headlight::planted {
namespace {

using testing_support::TempFolder;

class Planted : public ::testing::Test {
 protected:
  engine::Engine& load(const PlantedOptions& options) {
    write_planted_model(planted_model(options), folder_.path(), true);
    engine_ =
        std::make_unique<engine::Engine>(formats::open_model(folder_.path()), engine::EngineOptions{.threads = 2});
    return *engine_;
  }

  /// Most likely next token after every prefix.
  static std::vector<std::int32_t> predictions(engine::Engine& engine, const std::vector<std::int32_t>& ids) {
    const auto vocab = static_cast<std::size_t>(engine.spec().vocab_size);
    std::vector<float> logits(ids.size() * vocab);
    engine::Session session(engine);
    session.forward(ids, logits);
    std::vector<std::int32_t> best;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const float* row = logits.data() + i * vocab;
      best.push_back(static_cast<std::int32_t>(std::max_element(row, row + vocab) - row));
    }
    return best;
  }

 private:
  TempFolder folder_;
  std::unique_ptr<engine::Engine> engine_;
};

std::vector<std::int32_t> repeated(int period) {
  std::vector<std::int32_t> ids = {0};
  for (int copy = 0; copy < 2; ++copy)
    for (int k = 0; k < period; ++k) ids.push_back(2 + k);
  return ids;
}

TEST_F(Planted, EveryVariantContinuesARepeat) {
  for (const Variant variant :
       {Variant::roles, Variant::mha, Variant::mqa, Variant::weak, Variant::noise, Variant::gpt2}) {
    auto& engine = load({.variant = variant});
    const auto ids = repeated(24);
    const auto best = predictions(engine, ids);
    for (std::size_t i = 25; i + 1 < ids.size(); ++i)
      EXPECT_EQ(best[i], ids[i + 1]) << to_string(variant) << " row " << i;
  }
}

TEST_F(Planted, AWindowEndsTheRepeat) {
  auto& engine = load({.variant = Variant::windowed});
  EXPECT_EQ(engine.spec().is_sliding, (std::vector<std::uint8_t>{0, 1}));
  std::vector<std::int32_t> ids = {0, 20, 21};
  for (int k = 0; k < 100; ++k) ids.push_back(2 + k % 14);
  ids.push_back(20);
  EXPECT_NE(predictions(engine, ids).back(), 21);
  EXPECT_EQ(predictions(load({}), ids).back(), 21);
}

TEST_F(Planted, NeedlesAreCopiedToTheStopToken) {
  std::vector<std::int32_t> ids = {0, 5, 9, 4};
  ids.insert(ids.end(), {17, 20, 21, 22, 23, 24, 25, 26, 27, 1});
  for (int k = 0; k < 1990; ++k) ids.push_back(2 + (k * 5) % 14);
  ids.insert(ids.end(), {16, 17});
  for (const Variant variant : {Variant::roles, Variant::gpt2}) {
    const auto out = engine::generate(load({.variant = variant}), ids, 9, {});
    std::vector<std::int32_t> found;
    for (const auto& token : out) found.push_back(token.id);
    EXPECT_EQ(found, (std::vector<std::int32_t>{20, 21, 22, 23, 24, 25, 26, 27, 1})) << to_string(variant);
  }
}

TEST_F(Planted, TheWeakHeadSplitsItsAttention) {
  auto& engine = load({.variant = Variant::weak});
  const auto ids = repeated(24);
  capture::MemoryCapture capture;
  capture::CaptureHeader header;
  header.model = engine.model_info();
  header.plan.level = capture::CaptureLevel::maps;
  header.plan.layers = {0, 1};
  header.plan.heads_lh.assign(16, 1);
  engine::CaptureInput input;
  for (const auto id : ids) {
    input.header.tokens.emplace_back();
    input.header.tokens.back().id = id;
  }
  engine::run_capture(engine, {input}, header, {}, capture);
  const Buffer<float> attn = capture.dense(0, 1, 0);
  for (std::size_t i = 25; i < ids.size(); ++i) {
    EXPECT_NEAR(attn[i * ids.size() + i - 23], 0.72, 0.02) << "row " << i;
  }
}

TEST_F(Planted, NoiseHasTheGivenSpread) {
  const auto clean = planted_model(), noisy = planted_model({.variant = Variant::noise, .sigma = 0.02, .seed = 3});
  double sum = 0, squares = 0, count = 0;
  for (std::size_t t = 0; t < clean.tensors.size(); ++t) {
    if (clean.tensors[t].name.find("self_attn") == std::string::npos) {
      EXPECT_EQ(clean.tensors[t].values, noisy.tensors[t].values) << clean.tensors[t].name;
      continue;
    }
    for (std::size_t k = 0; k < clean.tensors[t].values.size(); ++k) {
      const double difference = noisy.tensors[t].values[k] - clean.tensors[t].values[k];
      sum += difference, squares += difference * difference, count += 1;
    }
  }
  EXPECT_NEAR(sum / count, 0.0, 2e-4);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 1e-4);
}

TEST(PlantedNames, AreParsed) {
  EXPECT_EQ(parse_variant("windowed"), Variant::windowed);
  testing_support::expect_refused([] { parse_variant("role"); }, Errc::invalid_argument, {"role", "roles, mha"});
}

}  // namespace
}  // namespace headlight::planted
