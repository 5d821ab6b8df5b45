// The engine on a device against the engine on the CPU, over tiny models of every architecture. Skipped, by name,
// without a device.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels_cuda/cuda_kernels.h"

#include "base/error.h"
#include "core/engine/engine.h"
#include "core/engine/session_impl.h"
#include "tests/engine/golden_case.h"
#include "tests/support/synthetic_model.h"

namespace headlight::engine {
namespace {

using testing_support::input_of;
using testing_support::load_golden;
using testing_support::open_golden_model;

/// Of the largest logit of the position: rounding of operands to 8 and 11 bits, amplified by layers of random weights
/// (measured: at most 0.052 and 0.0094).
double tolerance_of(DType dtype) {
  return dtype == DType::bf16 ? 0.08 : 0.015;
}

TensorType stored_as(DType dtype) {
  return dtype == DType::bf16 ? TensorType::bf16 : TensorType::f16;
}

EngineOptions on_device(DType dtype) {
  EngineOptions options;
  options.cuda_device = 0;
  options.cuda_dtype = dtype;
  return options;
}

void skip_without_device() {
  const cuda::CudaKernels* table = cuda::cuda_kernels();
  std::string why = "built without CUDA";
  if (table == nullptr || table->devices(why).empty()) GTEST_SKIP() << why;
}

class CudaEngine : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { skip_without_device(); }

  static std::vector<float> logits_of(Engine& engine, const std::vector<std::int32_t>& ids) {
    std::vector<float> logits(ids.size() * static_cast<std::size_t>(engine.spec().vocab_size));
    Session session(engine);
    session.forward(ids, logits);
    return logits;
  }

  /// Largest difference of any position, of the largest logit of that position.
  static double difference(const std::vector<float>& found, const std::vector<float>& expected, std::size_t vocab) {
    double worst = 0.0;
    for (std::size_t i = 0; i < expected.size(); i += vocab) {
      double largest = 0.0, apart = 0.0;
      for (std::size_t v = i; v < i + vocab; ++v) {
        largest = std::max(largest, std::abs(static_cast<double>(expected[v])));
        apart = std::max(apart, std::abs(static_cast<double>(found[v]) - static_cast<double>(expected[v])));
      }
      worst = std::max(worst, apart / largest);
    }
    return worst;
  }

  /// False where the model must be refused, and is.
  static bool runs_on_device(DType dtype) {
    const formats::ModelSpec spec = open_golden_model(GetParam()).spec;
    if (spec.moe.num_experts == 0 && spec.head_dim % 8 == 0 && spec.hidden_size % 8 == 0 &&
        spec.intermediate_size % 8 == 0)
      return true;
    EXPECT_THROW(Engine(open_golden_model(GetParam(), stored_as(dtype)), on_device(dtype)), Error);
    return false;
  }
};

TEST_P(CudaEngine, LogitsAreThoseOfTheCpu) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    if (!runs_on_device(dtype)) continue;
    const auto ids = load_golden(GetParam()).ids;
    Engine host(open_golden_model(GetParam(), stored_as(dtype)), {});
    Engine device(open_golden_model(GetParam(), stored_as(dtype)), on_device(dtype));
    const double apart =
        difference(logits_of(device, ids), logits_of(host, ids), static_cast<std::size_t>(host.spec().vocab_size));
    RecordProperty("difference_" + std::string(to_string(dtype)), std::to_string(apart));
    EXPECT_LT(apart, tolerance_of(dtype)) << to_string(dtype);
  }
}

TEST_P(CudaEngine, DecodedRowsAreThoseOfAPrefill) {  // through a cache that grows on the way
  const DType dtype = DType::f16;
  if (!runs_on_device(dtype)) return;
  const auto ids = load_golden(GetParam()).ids;
  Engine device(open_golden_model(GetParam(), stored_as(dtype)), on_device(dtype));
  const auto vocab = static_cast<std::size_t>(device.spec().vocab_size);
  const std::vector<float> expected = logits_of(device, ids);
  Session session(device);
  const std::size_t first = ids.size() / 2;
  session.forward(std::span(ids).first(first), {});
  const std::int64_t whole = rope_length_key(device.spec(), std::ssize(ids));
  std::vector<float> row(vocab);
  for (std::size_t i = first; i < ids.size(); ++i) {
    session.forward(std::span(ids).subspan(i, 1), row);
    if (rope_length_key(device.spec(), static_cast<std::int64_t>(i) + 1) != whole) continue;  // frequencies still change
    const auto at = expected.begin() + static_cast<std::ptrdiff_t>(i * vocab);
    EXPECT_LT(difference(row, {at, at + static_cast<std::ptrdiff_t>(vocab)}, vocab), tolerance_of(dtype)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, CudaEngine, ::testing::ValuesIn(testing_support::golden_model_names()),
                         [](const auto& instance) { return instance.param; });

class CudaEngineErrors : public ::testing::Test {
 protected:
  void SetUp() override { skip_without_device(); }
  static std::string some_model() { return testing_support::golden_model_names().front(); }
};

TEST_F(CudaEngineErrors, ADeviceThatIsNotThere) {
  EngineOptions options = on_device(DType::bf16);
  options.cuda_device = 99;
  try {
    Engine(open_golden_model(some_model()), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_NE(std::string(error.what()).find("99"), std::string::npos) << error.what();
  }
}

TEST_F(CudaEngineErrors, NotANumberIsNamed) {
  formats::ModelFile model = open_golden_model(some_model());
  Engine device(testing_support::with_value(std::move(model), "blk.1.attn_norm.weight", 0,
                                            std::numeric_limits<float>::infinity()),
                on_device(DType::bf16));
  Session session(device);
  try {
    session.forward(load_golden(some_model()).ids, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::failed);
    EXPECT_NE(std::string(error.what()).find("layer 1"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace headlight::engine
