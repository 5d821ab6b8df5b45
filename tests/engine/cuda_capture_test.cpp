// Captures made on a device: every number that follows from the recorded operands against float64, what needs the
// weights against the weights, and the whole against a capture made on the CPU. Skipped, by name, without a device.

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "kernels_cuda/cuda_kernels.h"

#include "core/capture/statistics.h"
#include "core/capture/statistics_check.h"
#include "core/engine/engine_impl.h"
#include "kernels/dequantize.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using capture::CaptureLevel;
using capture::MemoryCapture;
using testing_support::header_of;
using testing_support::input_of;
using testing_support::load_golden;
using testing_support::open_golden_model;

class CudaCapture : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const cuda::CudaKernels* table = cuda::cuda_kernels();
    std::string why = "built without CUDA";
    if (table == nullptr || table->devices(why).empty()) GTEST_SKIP() << why;
  }

  static std::unique_ptr<Engine> engine_of(DType dtype, bool device) {
    EngineOptions options;
    if (device) {
      options.cuda_device = 0;
      options.cuda_dtype = dtype;
    }
    return std::make_unique<Engine>(
        open_golden_model(GetParam(), dtype == DType::bf16 ? TensorType::bf16 : TensorType::f16), options);
  }

  /// A prompt with a segment, and three generated tokens.
  static std::unique_ptr<MemoryCapture> captured(Engine& engine, CaptureLevel level, std::int64_t generate = 3) {
    auto header = header_of(engine, level);
    header.plan.topk = 4;
    header.plan.hidden_states = true;
    CaptureInput input = input_of(load_golden(GetParam()).ids, generate);
    input.header.segments = {{"user", 0, 5}};
    for (std::size_t i = 0; i < 5; ++i) input.header.tokens[i].segment = 0;
    auto capture = std::make_unique<MemoryCapture>();
    EXPECT_EQ(run_capture(engine, {input}, header, {}, *capture), 0);
    return capture;
  }
};

TEST_P(CudaCapture, EverythingFollowsFromTheRecordedOperands) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const auto engine = engine_of(dtype, true);
    const auto capture = captured(*engine, CaptureLevel::maps);
    capture::StatisticsCheck check(*capture, 0, 0, capture->record(0).num_rows, engine->pool());
    for (int layer = 0; layer < engine->spec().num_layers; ++layer)
      for (int head = 0; head < engine->spec().num_heads; ++head) check.add_head(layer, head, {});
    for (const capture::Check& result : check.results())
      EXPECT_TRUE(result.passed()) << to_string(dtype) << " " << result.name << ": " << result.worst
                                   << " of its limit at " << result.where;
  }
}

TEST_P(CudaCapture, FactsOfHiddenStatesAreThoseOfTheCpu) {
  const auto found = captured(*engine_of(DType::f16, true), CaptureLevel::summary),
             expected = captured(*engine_of(DType::f16, false), CaptureLevel::summary);
  const auto largest = [&](const char* id) {
    float most = 0.0f;
    for (const float x : expected->hidden(0, id)) most = std::max(most, std::abs(x));
    return most;
  };
  // Rounding of operands to 11 bits, through layers of random weights; a mean is small beside what it is a mean of.
  for (const auto& [id, scale] :
       {std::pair{"norm_l2", largest("norm_l2")}, std::pair{"absmax", largest("absmax")},
        std::pair{"mean", largest("rms")}, std::pair{"rms", largest("rms")}, std::pair{"cos_first", 1.0f}}) {
    const Buffer<float> a = found->hidden(0, id), b = expected->hidden(0, id);
    ASSERT_EQ(a.size(), b.size()) << id;
    EXPECT_LT(testing_support::largest_difference(a.data(), b.data(), a.size()), 0.08f * scale) << id;
  }
}

TEST_P(CudaCapture, WhatHeadsWriteFollowsFromTheWeights) {
  const auto engine = engine_of(DType::f16, true);
  const auto capture = captured(*engine, CaptureLevel::replay, 0);
  const formats::ModelSpec& spec = engine->spec();
  const auto n = capture->record(0).num_rows;
  const auto dim = static_cast<std::size_t>(spec.head_dim);
  const Buffer<float> u_norm = capture->hidden(0, "u_norm");
  std::vector<float> v(static_cast<std::size_t>(n) * dim);
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    const kernels::MatrixView& w = engine->impl().weights.layers[static_cast<std::size_t>(layer)].output.w;
    std::vector<float> projection(static_cast<std::size_t>(w.rows * w.cols));
    kernels::dequantize_rows(w, 0, w.rows, projection.data());
    for (int head = 0; head < spec.num_heads; ++head) {
      capture->read_v(0, layer, head * spec.num_kv_heads / spec.num_heads, 0, n, v.data());
      for (std::int64_t j = 0; j < n; ++j) {
        double square = 0;
        for (std::int64_t r = 0; r < w.rows; ++r) {
          double u = 0;
          for (std::size_t e = 0; e < dim; ++e)
            u += static_cast<double>(
                     projection[static_cast<std::size_t>(r * w.cols) + static_cast<std::size_t>(head) * dim + e]) *
                 static_cast<double>(v[static_cast<std::size_t>(j) * dim + e]);
          square += u * u;
        }
        EXPECT_NEAR(u_norm[static_cast<std::size_t>((layer * spec.num_heads + head) * n + j)], std::sqrt(square),
                    1e-3 * std::sqrt(square));
      }
    }
  }
}

TEST_P(CudaCapture, IsThatOfTheCpuWithinTheRoundingOfOperands) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const auto engine = engine_of(dtype, true);
    const auto found = captured(*engine, CaptureLevel::replay, 0),
               expected = captured(*engine_of(dtype, false), CaptureLevel::replay, 0);
    const double limit = dtype == DType::bf16 ? 0.1 : 0.02;
    for (int layer = 0; layer < engine->spec().num_layers; ++layer)
      for (const char* id : {"pmax", "first", "sink", "local", "off0", "off1", "null_mass", "group_mass:0"}) {
        const Buffer<float> a = found->statistic(0, id, layer), b = expected->statistic(0, id, layer);
        EXPECT_LT(testing_support::largest_difference(a.data(), b.data(), a.size()), limit) << id << " layer " << layer;
      }
    const Buffer<float> a = found->last_logits(0), b = expected->last_logits(0);
    float scale = 0.0f;
    for (const float x : b) scale = std::max(scale, std::abs(x));
    EXPECT_LT(testing_support::largest_difference(a.data(), b.data(), a.size()), limit * scale);
  }
}

TEST_P(CudaCapture, IsTheSameEveryTime) {
  const auto engine = engine_of(DType::bf16, true);
  const auto first = captured(*engine, CaptureLevel::replay), second = captured(*engine, CaptureLevel::replay);
  for (int layer = 0; layer < engine->spec().num_layers; ++layer)
    for (const std::string& id : first->available_statistics(0)) {
      if (capture::require_statistic(id).kind == capture::StatisticKind::head) continue;
      const Buffer<float> a = first->statistic(0, id, layer), b = second->statistic(0, id, layer);
      EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
        return x == y || (std::isnan(x) && std::isnan(y));
      })) << id;
    }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaCapture, ::testing::Values("llama", "mistral", "gemma2", "qwen3", "gpt2", "olmo2"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace headlight::engine
