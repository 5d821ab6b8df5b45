#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace headlight::kernels {

/// y = w * x / sqrt(mean(x^2) + eps), sums in f32 with 8+ partial sums, eps inside the root. x, y [n][d]; in place
/// allowed.
/// @see Root Mean Square Layer Normalization
void rms_norm(ThreadPool& pool, const float* x, float* y, std::int64_t n, std::int64_t d, const float* weight_d,
              float eps);

/// y = (x - mean) / sqrt(var + eps) * w + b, biased variance. bias may be null.
/// @see Layer Normalization
void layer_norm(ThreadPool& pool, const float* x, float* y, std::int64_t n, std::int64_t d, const float* weight_d,
                const float* bias_d, float eps);

/// rms_norm of every head's slice with one shared weight [head_dim]; x [n][stride], heads at h * head_dim.
void rms_norm_heads(ThreadPool& pool, float* x, std::int64_t n, std::int64_t stride, int num_heads, int head_dim,
                    const float* weight_d, float eps);

/// Half-split rotation of every head, in place: for j < rotary_dim / 2
///     x'[j] = x[j] c - x[j + rotary_dim/2] s,   x'[j + rotary_dim/2] = x[j + rotary_dim/2] c + x[j] s
/// @param cos_sin [n][rotary_dim]: rotary_dim/2 cosines then rotary_dim/2 sines of each row
/// @see RoFormer: Enhanced Transformer with Rotary Position Embedding
void rope(ThreadPool& pool, float* x, std::int64_t n, std::int64_t stride, int num_heads, int head_dim, int rotary_dim,
          const float* cos_sin);

enum class ActivationKind { silu, gelu_exact, gelu_tanh, quick_gelu, clamped_swiglu };

/// out[i] = act(gate[i]) * up[i]; clamped_swiglu: (clamp(u,-7,7) + 1) * g sigma(1.702 g), g = min(g, 7).
void gated_activation(ThreadPool& pool, ActivationKind kind, const float* gate, const float* up, float* out,
                      std::int64_t count);
void activation(ThreadPool& pool, ActivationKind kind, float* x, std::int64_t count);

void add(ThreadPool& pool, float* x, const float* y, std::int64_t count);  ///< x += y
void scale(ThreadPool& pool, float* x, float factor, std::int64_t count);  ///< x *= factor
void soft_cap(ThreadPool& pool, float* x, float cap, std::int64_t count);  ///< x = cap * tanh(x / cap)

/// x = e^(factor x - shift), the exponential within 2 ulp: dot products to attention, with the row's logsumexp as
/// shift. On the calling thread.
void exp_shifted(float* x, std::int64_t count, float factor, float shift);

/// Largest |x| and its index, mean, mean square of one row; exact comparisons, sums in f64.
struct RowFacts {
  float absmax = 0.0f;
  std::int32_t absmax_index = 0;
  float mean = 0.0f;
  float rms = 0.0f;
  float norm_l2 = 0.0f;
};
RowFacts row_facts(std::span<const float> x);

}  // namespace headlight::kernels
