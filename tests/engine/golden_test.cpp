// Parity with Hugging Face transformers on tiny models of every architecture.

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/json.h"
#include "core/capture/replay.h"
#include "core/engine/session_impl.h"
#include "tests/engine/golden_case.h"
#include "tests/support/synthetic_model.h"

namespace headlight::engine {
namespace {

using testing_support::attention_of_decode;
using testing_support::capture_maps;
using testing_support::Golden;
using testing_support::largest_difference;
using testing_support::load_golden;
using testing_support::open_golden_model;

constexpr float kMapTolerance = 1e-4f;
constexpr double kLogitTolerance = 2e-4;  // of the largest logit of the position
constexpr double kControlFactor = 20.0;

class GoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  GoldenTest() : golden_(load_golden(GetParam())) {}

  std::vector<float> logits_of(Engine& engine) const {
    std::vector<float> logits(golden_.logits.size());
    Session session(engine);
    session.forward(golden_.ids, logits);
    return logits;
  }

  /// Largest |dz| of any position over the tolerance of that position; below 1 is parity.
  double logit_error(const std::vector<float>& logits) const {
    const std::size_t vocab = golden_.logits.size() / golden_.ids.size();
    double worst = 0.0;
    for (std::size_t i = 0; i < golden_.ids.size(); ++i) {
      double difference = 0.0, largest = 0.0;
      for (std::size_t v = i * vocab; v < (i + 1) * vocab; ++v) {
        difference = std::max(difference, std::abs(static_cast<double>(logits[v]) - golden_.logits[v]));
        largest = std::max(largest, std::abs(static_cast<double>(golden_.logits[v])));
      }
      worst = std::max(worst, difference / (kLogitTolerance * largest));
    }
    return worst;
  }

  Golden golden_;
};

TEST_P(GoldenTest, LogitsOfEveryPosition) {
  Engine engine(open_golden_model(GetParam()), {});
  EXPECT_LT(logit_error(logits_of(engine)), 1.0);
}

TEST_P(GoldenTest, EveryMapFromTheDenseLevel) {
  Engine engine(open_golden_model(GetParam()), {});
  const auto capture = capture_maps(engine, golden_.ids);
  const std::size_t map = golden_.ids.size() * golden_.ids.size();
  for (int layer = 0; layer < engine.spec().num_layers; ++layer)
    for (int head = 0; head < engine.spec().num_heads; ++head) {
      const auto at = static_cast<std::size_t>(layer * engine.spec().num_heads + head) * map;
      const Buffer<float> dense = capture->dense(0, layer, head);
      EXPECT_LT(largest_difference(dense.data(), golden_.attn.data() + at, map), kMapTolerance)
          << "layer " << layer << " head " << head;
    }
}

TEST_P(GoldenTest, EveryMapFromReplay) {
  Engine engine(open_golden_model(GetParam()), {});
  const auto capture = capture_maps(engine, golden_.ids);
  const auto n = static_cast<std::int64_t>(golden_.ids.size());
  std::vector<float> tile(static_cast<std::size_t>(n * n));
  for (int layer = 0; layer < engine.spec().num_layers; ++layer)
    for (int head = 0; head < engine.spec().num_heads; ++head) {
      capture::replay_tile(*capture, {0, layer, head}, {0, n, 0, n}, engine.pool(), tile);
      const auto at = static_cast<std::size_t>(layer * engine.spec().num_heads + head) * tile.size();
      EXPECT_LT(largest_difference(tile.data(), golden_.attn.data() + at, tile.size()), kMapTolerance)
          << "layer " << layer << " head " << head;
    }
}

TEST_P(GoldenTest, HiddenStatesEmbeddingsAndRotatedOperands) {
  Engine engine(open_golden_model(GetParam()), {});
  const auto capture = capture_maps(engine, golden_.ids);
  const formats::ModelSpec& spec = engine.spec();
  const std::size_t n = golden_.ids.size(), d = static_cast<std::size_t>(spec.hidden_size);
  const Buffer<float> norms = capture->hidden(0, "norm_l2");
  ASSERT_EQ(norms.size(), static_cast<std::size_t>(spec.num_layers + 1) * n);
  for (std::size_t row = 0; row < norms.size(); ++row) {
    double sum = 0.0;
    for (std::size_t e = row * d; e < (row + 1) * d; ++e)
      sum += static_cast<double>(golden_.resid[e]) * golden_.resid[e];
    EXPECT_NEAR(norms[row] / std::sqrt(sum), 1.0, 1e-4) << "level " << row / n << " token " << row % n;
  }
  const auto size = n * static_cast<std::size_t>(spec.head_dim);
  std::vector<float> operand(size);
  for (int head = 0; head < spec.num_heads; ++head) {
    capture->read_q(0, 0, head, 0, static_cast<std::int64_t>(n), operand.data());
    EXPECT_LT(largest_difference(operand.data(), golden_.q_rot.data() + static_cast<std::size_t>(head) * size, size),
              2e-5f);
  }
  for (int head = 0; head < spec.num_kv_heads; ++head) {
    capture->read_k(0, 0, head, 0, static_cast<std::int64_t>(n), operand.data());
    EXPECT_LT(largest_difference(operand.data(), golden_.k_rot.data() + static_cast<std::size_t>(head) * size, size),
              2e-5f);
  }
}

TEST_P(GoldenTest, MassOfLearnedSinks) {
  Engine engine(open_golden_model(GetParam()), {});
  const auto capture = capture_maps(engine, golden_.ids);
  const std::size_t per_layer = golden_.ids.size() * static_cast<std::size_t>(engine.spec().num_heads);
  for (int layer = 0; layer < engine.spec().num_layers; ++layer) {
    const Buffer<float> mass = capture->statistic(0, "null_mass", layer);
    const std::vector<float> none(per_layer, 0.0f);  // models without learned sinks
    const float* expected = golden_.sink_mass.empty()
                                ? none.data()
                                : golden_.sink_mass.data() + static_cast<std::size_t>(layer) * per_layer;
    EXPECT_LT(largest_difference(mass.data(), expected, per_layer), golden_.sink_mass.empty() ? 1e-30f : kMapTolerance);
  }
}

TEST_P(GoldenTest, DecodeGivesTheRowsOfThePrefill) {
  Engine engine(open_golden_model(GetParam()), {});
  const std::size_t n = golden_.ids.size(), vocab = golden_.logits.size() / n, steps = 4;
  const auto decoded = attention_of_decode(engine, golden_.ids, static_cast<std::int64_t>(steps));
  const std::size_t heads = static_cast<std::size_t>(engine.spec().num_layers * engine.spec().num_heads);
  for (std::size_t lh = 0; lh < heads; ++lh)
    EXPECT_LT(largest_difference(decoded.attn.data() + lh * steps * n,
                                 golden_.attn.data() + (lh + 1) * n * n - steps * n, steps * n),
              kMapTolerance);
  std::vector<float> logits = golden_.logits;  // rows of the prompt are not looked at again
  std::copy(decoded.logits.begin(), decoded.logits.end(), logits.end() - static_cast<std::ptrdiff_t>(steps * vocab));
  EXPECT_LT(logit_error(logits), 1.0);
}

TEST_P(GoldenTest, BfloatCacheStaysClose) {
  EngineOptions options;
  options.kv_dtype = DType::bf16;
  Engine engine(open_golden_model(GetParam()), options), exact(open_golden_model(GetParam()), {});
  const auto rounded = logits_of(engine), full = logits_of(exact);
  const float difference = largest_difference(rounded.data(), full.data(), full.size());
  EXPECT_GT(difference, 0.0f);
  EXPECT_LT(difference, 1.0f);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, ::testing::ValuesIn(testing_support::golden_model_names()),
                         [](const auto& instance) { return instance.param; });

/// One special of an architecture switched off: some probability must move by far more than the tolerance, or the
/// parity tests above would not notice it missing.
struct Control {
  std::string model, name;
  std::function<void(formats::ModelFile&)> mutate;
  /// Entry of controls.json: what the same change does in transformers. Ours must do the same.
  std::string reference = {};
  bool moves_logits_only = false;
};

template <class Change>
std::function<void(formats::ModelFile&)> spec_change(Change change) {
  return [change](formats::ModelFile& model) { change(model.spec); };
}

formats::Weights without(const formats::Weights& weights, const std::vector<std::string>& ends) {
  formats::Weights kept = weights;  // shares the storage
  formats::Weights out;
  out.keep_alive(std::make_shared<formats::Weights>(weights));
  for (const auto& [name, tensor] : kept.all()) {
    bool drop = false;
    for (const std::string& end : ends)
      drop = drop || (name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0);
    if (!drop) out.add(name, tensor);
  }
  return out;
}

/// Replaces the F32 tensors whose name holds `part` by copies that `change(from, to, tensor)` fills.
template <class Change>
void change_tensors(formats::ModelFile& model, std::string_view part, const Change& change) {
  formats::Weights out;
  out.keep_alive(std::make_shared<formats::Weights>(model.weights));
  for (const auto& [name, tensor] : model.weights.all()) {
    formats::WeightTensor changed = tensor;
    if (name.find(part) != std::string::npos) {
      const auto bytes = out.allocate(tensor.bytes());
      change(reinterpret_cast<const float*>(tensor.data), reinterpret_cast<float*>(bytes.data()), tensor);
      changed.data = bytes.data();
    }
    out.add(name, changed);
  }
  model.weights = std::move(out);
}

void subtract_one_from_norms(formats::ModelFile& model) {
  change_tensors(model, "norm.weight", [](const float* from, float* to, const formats::WeightTensor& tensor) {
    std::transform(from, from + tensor.cols, to, [](float x) { return x - 1.0f; });
  });
}

/// Every position sees the embedding of the one before it.
void shift_positions(formats::ModelFile& model) {
  change_tensors(model, "position_embd.weight", [](const float* from, float* to, const formats::WeightTensor& tensor) {
    std::copy_n(from, tensor.cols, to);
    std::copy_n(from, (tensor.rows - 1) * tensor.cols, to + tensor.cols);
  });
}

std::function<void(formats::ModelFile&)> no_tensors(std::vector<std::string> ends) {
  return [ends = std::move(ends)](formats::ModelFile& model) { model.weights = without(model.weights, ends); };
}

std::vector<Control> rope_controls() {
  using Spec = formats::ModelSpec;
  const auto no_scaling = spec_change(
      [](Spec& s) { s.rope.scaling.kind = s.rope_sliding.scaling.kind = formats::RopeScaling::Kind::none; });
  const auto no_magnitude =
      spec_change([](Spec& s) { s.rope.scaling.attention_factor = s.rope_sliding.scaling.attention_factor = 1.0; });
  const auto flip_truncate = spec_change(
      [](Spec& s) { s.rope.scaling.truncate = s.rope_sliding.scaling.truncate = !s.rope.scaling.truncate; });
  const auto short_factors = spec_change([](Spec& s) {
    s.rope.scaling.long_factor = s.rope.scaling.short_factor;
    s.rope_sliding.scaling.long_factor = s.rope_sliding.scaling.short_factor;
  });
  return {
      {"llama_linear", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"llama_llama3", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"llama_yarn", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"llama_yarn", "TruncateFlipped", flip_truncate, "yarn truncate flipped"},
      {"llama_yarn", "NoMagnitude", no_magnitude, "yarn without attention factor"},
      {"gemma3", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"gemma3", "OneTheta", spec_change([](Spec& s) { s.rope_sliding.theta = s.rope.theta; }), "one theta"},
      {"phi3", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"phi3", "ShortFactors", short_factors},
      {"phi3_short", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"phi3_short", "WholeHeadRotates", spec_change([](Spec& s) {
         s.rotary_dim = s.head_dim;
         s.rope.scaling.kind = s.rope_sliding.scaling.kind = formats::RopeScaling::Kind::none;
       })},
      {"gpt_oss", "NoRopeScaling", no_scaling, "no rope scaling"},
      {"gpt_oss", "TruncateFlipped", flip_truncate, "yarn truncate flipped"},
      {"gpt_oss", "NoMagnitude", no_magnitude, "yarn without attention factor"},
      {"gpt2", "PositionsShifted", shift_positions},
  };
}

std::vector<Control> attention_controls() {
  using Spec = formats::ModelSpec;
  const auto no_qk_norm = spec_change([](Spec& s) { s.qk_norm = Spec::QkNorm::none; });
  const auto plain_scale = spec_change([](Spec& s) { s.attention_scale = 1.0 / std::sqrt(s.head_dim); });
  const auto no_bias = no_tensors({"attn_q.bias", "attn_k.bias", "attn_v.bias"});
  const auto no_cap = spec_change([](Spec& s) { s.attention_soft_cap = 0.0; });
  const auto no_sinks = spec_change([](Spec& s) { s.learned_sinks = false; });
  std::vector<Control> list = {
      {"llama_bias", "NoBias", no_bias, "no q, k, v bias"},
      {"llama_bias", "NoOutputBias", no_tensors({"attn_output.bias"})},
      {"qwen2", "NoBias", no_bias, "no q, k, v bias"},
      {"qwen2_window", "NoBias", no_bias, "no q, k, v bias"},
      {"gpt2", "NoBias", no_bias},
      {"gpt2", "NoOutputBias", no_tensors({"attn_output.bias"})},
      {"gpt_oss", "NoBias", no_bias, "no q, k, v bias"},
      {"gpt_oss", "NoOutputBias", no_tensors({"attn_output.bias"})},
      {"gpt_oss", "SinksIgnored", no_sinks, "sinks ignored"},
      {"qwen3", "NoQkNorm", no_qk_norm, "no QK-norm"},
      {"gemma3", "NoQkNorm", no_qk_norm, "no QK-norm"},
      {"olmo2", "NoQkNorm", no_qk_norm, "no QK-norm"},
      {"gemma2", "ScaleOfHeadDim", plain_scale, "scale of head_dim"},
      {"gemma3", "ScaleOfHeadDim", plain_scale, "scale of head_dim"},
      {"gemma2", "NoAttentionCap", no_cap, "no attention cap"},
  };
  for (const char* model : {"mistral", "qwen2_window", "gemma2", "gemma3", "phi3_short", "gpt_oss"}) {
    list.push_back({model, "WindowPlusOne", spec_change([](Spec& s) { ++s.sliding_window; }), "window + 1"});
    list.push_back({model, "WindowMinusOne", spec_change([](Spec& s) { --s.sliding_window; }), "window - 1"});
  }
  const auto swapped = spec_change([](Spec& s) {
    for (auto& sliding : s.is_sliding) sliding = !sliding;
  });
  for (const char* model : {"qwen2_window", "gemma2", "gpt_oss"})
    list.push_back({model, "KindsSwapped", swapped, "layer kinds swapped"});
  list.push_back({"gemma3", "KindsSwapped", swapped, "layer kinds swapped"});
  return list;
}

std::vector<Control> block_controls() {
  using Spec = formats::ModelSpec;
  const auto no_post_norms = spec_change([](Spec& s) { s.block = formats::BlockKind::pre_norm; });
  const auto no_embedding_scale = spec_change([](Spec& s) { s.embedding_scale = 1.0; });
  const auto no_logit_cap = spec_change([](Spec& s) { s.logit_soft_cap = 0.0; });
  const auto no_mlp_bias = no_tensors({"ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"});
  std::vector<Control> list = {
      {"gemma", "OtherActivation", spec_change([](Spec& s) { s.activation = formats::Activation::silu; })},
      {"gemma2", "NoLogitCap", no_logit_cap, "no logit cap", true},
      {"gemma2", "NoPostNorms", no_post_norms},
      {"gemma3", "NoPostNorms", no_post_norms},
      {"llama_bias", "NoMlpBias", no_mlp_bias},
      {"gpt2", "NoMlpBias", no_mlp_bias},
      {"gpt_oss", "NoExpertBias", no_tensors({"_exps.bias"})},
      {"gpt_oss", "NoRouterBias", no_tensors({"ffn_gate_inp.bias"})},
      {"gpt_oss", "OneExpert", spec_change([](Spec& s) { s.moe.experts_per_token = 1; }), "top 1 expert"},
      {"gpt_oss", "PlainSwiglu", spec_change([](Spec& s) { s.clamped_swiglu = false; })},
  };
  for (const char* model : {"gemma", "gemma2", "gemma3"}) {
    list.push_back({model, "NormsWithoutOne", subtract_one_from_norms, "norm without + 1"});
    list.push_back({model, "NoEmbeddingScale", no_embedding_scale});
  }
  return list;
}

std::vector<Control> controls() {
  std::vector<Control> all = rope_controls();
  for (const auto& list : {attention_controls(), block_controls()}) all.insert(all.end(), list.begin(), list.end());
  return all;
}

Json margins() {
  return load_json(std::string(HEADLIGHT_SOURCE_DIR) + "/tests/golden/controls.json");
}

class ControlTest : public ::testing::TestWithParam<Control> {};

TEST_P(ControlTest, MovesTheResultBeyondTheTolerance) {
  const Control& control = GetParam();
  const Golden golden = load_golden(control.model);
  formats::ModelFile model = open_golden_model(control.model);
  control.mutate(model);
  Engine engine(std::move(model), {});
  const auto capture = capture_maps(engine, golden.ids);
  const std::size_t map = golden.ids.size() * golden.ids.size();
  float moved = 0.0f;
  for (int layer = 0; layer < engine.spec().num_layers; ++layer)
    for (int head = 0; head < engine.spec().num_heads; ++head) {
      const auto at = static_cast<std::size_t>(layer * engine.spec().num_heads + head) * map;
      moved = std::max(moved, largest_difference(capture->dense(0, layer, head).data(), golden.attn.data() + at, map));
    }
  std::vector<float> logits(golden.logits.size());
  Session session(engine);
  session.forward(golden.ids, logits);
  const double moved_logits = largest_difference(logits.data(), golden.logits.data(), logits.size());
  if (control.moves_logits_only) {
    EXPECT_LT(moved, kMapTolerance);
    EXPECT_GT(moved_logits, 0.1);
  } else {
    EXPECT_GT(moved, kControlFactor * kMapTolerance);
  }
  if (control.reference.empty()) return;
  const Json expected = margins().at(control.model).at(control.reference);
  EXPECT_NEAR(moved, expected.at("attn").get<double>(), 2 * kMapTolerance);
  EXPECT_NEAR(moved_logits, expected.at("logits").get<double>(), 2e-3 * expected.at("logits").get<double>());
}

// Changes that need other code, as interleaved rotary pairs, were made in transformers when the goldens were.
TEST(Controls, OfTheReferenceMoveTheResultToo) {
  const Json all = margins();
  for (const auto& [model, runs] : all.items())
    for (const auto& [name, moved] : runs.items()) {
      if (name == "no logit cap")
        EXPECT_GT(moved.at("logits").get<double>(), 0.1) << model;
      else
        EXPECT_GT(moved.at("attn").get<double>(), kControlFactor * kMapTolerance) << model << ": " << name;
    }
}

INSTANTIATE_TEST_SUITE_P(Specials, ControlTest, ::testing::ValuesIn(controls()),
                         [](const auto& instance) { return instance.param.model + "_" + instance.param.name; });

}  // namespace
}  // namespace headlight::engine
