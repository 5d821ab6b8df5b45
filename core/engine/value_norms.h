#pragma once

#include <cstdint>
#include <vector>

#include "core/engine/engine_impl.h"

namespace headlight::engine {

/// How much a head writes per unit of attention: |u| = |W_O^h v|, from the Gram matrix of the head's slice of the
/// output projection, |W_O^h v|^2 = v^T (W_O^h^T W_O^h) v. Gram matrices cost H d D^2 once per layer instead of H d D
/// per token.
/// @see Active-Dormant Attention Heads
class ValueNorms {
 public:
  /// @param keep  keep the Gram matrices of every layer [L][H][D][D] (several records, or generation); otherwise one
  ///              layer's worth of memory is reused
  ValueNorms(const Engine::Impl& engine, bool keep);

  /// u_norm of n rows of v_igd [n][v_stride], written to u_norm_hi[h * row_stride + i].
  void compute(int layer, const float* v_igd, std::int64_t n, std::int64_t v_stride, float* u_norm_hi,
               std::int64_t row_stride);

 private:
  const float* gram(int layer);
  void fill_gram(int layer, float* gram_hdd);

  const Engine::Impl& engine_;
  bool keep_;
  std::vector<Buffer<float>> gram_lhdd_;
  Buffer<float> panel_, product_;
};

/// L2 norm of every head's slice: out_gi[g * row_stride + i] of x_igd [n][stride].
void head_norms(ThreadPool& pool, const float* x_igd, std::int64_t n, std::int64_t stride, int num_heads, int head_dim,
                float* out_gi, std::int64_t row_stride);

}  // namespace headlight::engine
