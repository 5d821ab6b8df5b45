// The estimate against the memory that a run really takes. Each test runs in a process of its own under ctest.

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "core/engine/engine.h"
#include "tests/engine/golden_case.h"
#include "tests/engine/recording_sink.h"

namespace headlight::engine {
namespace {

using testing_support::header_of;
using testing_support::input_of;

std::int64_t peak_bytes() {
  const std::string key = "VmHWM:";
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(key, 0) == 0) return std::atoll(line.c_str() + key.size()) * 1024;
  return 0;
}

std::filesystem::path model_path() {
  const char* store = std::getenv("HEADLIGHT_MODELS");
  return store == nullptr ? std::filesystem::path() : std::filesystem::path(store) / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Sanitizers keep shadow memory and freed blocks: there the estimate says nothing.
constexpr bool kSanitized =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    true;
#else
    false;
#endif

struct Shape {
  const char* name;
  std::int64_t prompt, generated;
  bool overview;
};

class MemoryBase : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "memory is not measured under a sanitizer";
    if (!std::filesystem::exists(model_path()))
      GTEST_SKIP() << "SmolLM2-135M-Instruct.Q4_1.gguf is not in $HEADLIGHT_MODELS";
  }

  static std::vector<std::int32_t> ids_of(std::int64_t n) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(100 + i * 37 % 40000);
    return ids;
  }
};

class MemoryTest : public MemoryBase, public ::testing::WithParamInterface<Shape> {};

TEST_F(MemoryBase, PlainPrefillKeepsTheCacheOfEveryLayer) {
  std::int64_t estimated = 0;
  {
    Engine engine(formats::open_model(model_path()), {});
    estimated =
        estimate_memory(engine.spec(), engine.model().weights.total_bytes(), engine.options(), 1024, nullptr).total();
    std::vector<float> logits(static_cast<std::size_t>(engine.spec().vocab_size));
    Session(engine).forward(ids_of(1024), logits);
  }
  EXPECT_LE(peak_bytes(), estimated);
  EXPECT_LE(estimated, peak_bytes() * 3 / 2);  // pages of the mapped weights may leave memory on a busy machine
}

TEST_P(MemoryTest, EstimateIsAboveTheNeedAndNotFarAbove) {
  const Shape shape = GetParam();
  std::int64_t estimated = 0;
  {
    Engine engine(formats::open_model(model_path()), {});
    auto header = header_of(engine, capture::CaptureLevel::replay);
    header.plan.overview = shape.overview;
    const std::int64_t rows = shape.prompt + std::max<std::int64_t>(0, shape.generated - 1);
    estimated = estimate_memory(engine.spec(), engine.model().weights.total_bytes(), engine.options(), rows,
                                &header.plan, shape.generated)
                    .total();
    testing_support::RecordingSink sink;
    run_capture(engine, {input_of(ids_of(shape.prompt), shape.generated)}, header, {}, sink);
  }
  EXPECT_LE(peak_bytes(), estimated);
  EXPECT_LE(estimated, peak_bytes() * 3 / 2);  // pages of the mapped weights may leave memory on a busy machine
  if (shape.prompt <= 2048) {
    EXPECT_LT(peak_bytes(), std::int64_t{512} << 20);
  }
}

INSTANTIATE_TEST_SUITE_P(SmolLm2, MemoryTest,
                         ::testing::Values(Shape{"Prompt512", 512, 0, true}, Shape{"Prompt512Bare", 512, 0, false},
                                           Shape{"Prompt2048", 2048, 0, true}, Shape{"Generate", 512, 20, true}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace headlight::engine
