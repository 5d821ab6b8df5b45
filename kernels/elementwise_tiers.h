#pragma once

#include <cstdint>

#include "kernels/elementwise.h"

namespace headlight::kernels {

/// Loops over one row or one stretch of values, compiled once per instruction set.
struct ElementwiseLoops {
  void (*rms_norm)(const float* x, float* y, std::int64_t d, const float* weight, float eps);
  void (*layer_norm)(const float* x, float* y, std::int64_t d, const float* weight, const float* bias, float eps);
  void (*rope)(float* x, std::int64_t half, const float* cosines, const float* sines);
  void (*activate)(ActivationKind kind, const float* gate, const float* up, float* out, std::int64_t count);
  void (*add)(float* x, const float* y, std::int64_t count);
  void (*scale)(float* x, float factor, std::int64_t count);
  void (*soft_cap)(float* x, float cap, std::int64_t count);
  void (*exp_shifted)(float* x, std::int64_t count, float factor, float shift);
  void (*facts)(const float* x, std::int64_t count, RowFacts& facts);
};

const ElementwiseLoops& elementwise_loops_scalar();
const ElementwiseLoops& elementwise_loops_avx2();
const ElementwiseLoops& elementwise_loops_avx512();

}  // namespace headlight::kernels
