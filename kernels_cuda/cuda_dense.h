#pragma once

#include <cstdint>

#include "kernels_cuda/cuda_kernels.h"

#include "kernels/elementwise.h"

// What a layer does beside attention: products with weights, norms, rotation, activations. Weights and the operands of
// products have 16 bits (bf16 or f16), sums and the residual stream are f32. As in cuda_kernels.h, pointers of a call
// are device memory and calls return before the work is done.
namespace headlight::cuda {

/// Handle and chosen algorithms of the matrix products of one stream.
struct Matmul;

/// y[i, o] = sum_k x[i, k] W[o, k] (+ bias[o]), f32 accumulation; W [rows][cols], x [n][x_stride], y [n][y_stride].
struct MatmulCall {
  std::int64_t n = 0, rows = 0, cols = 0;
  DType dtype = DType::bf16;  ///< of W and x
  const void* w = nullptr;
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  void* y = nullptr;
  std::int64_t y_stride = 0;
  DType y_dtype = DType::f32;   ///< f32, or that of W and x
  const float* bias = nullptr;  ///< [rows]; only with y in f32
  bool accumulate = false;      ///< y += instead of y =; only with y in f32
};

/// Where a normalised row goes.
enum class NormTarget {
  narrow,   ///< y [n][d] in 16 bits
  replace,  ///< y [n][y_stride] in f32; may be x
  add,      ///< y [n][y_stride] in f32, += (the norms behind attention and feed-forward of gemma and olmo2)
};

/// RMSNorm or LayerNorm over rows of d, as kernels::rms_norm() and kernels::layer_norm().
struct NormCall {
  bool layer_norm = false;
  const float* x = nullptr;
  std::int64_t n = 0, d = 0, x_stride = 0;
  const float* weight_d = nullptr;
  const float* bias_d = nullptr;  ///< LayerNorm only; may be null
  float eps = 1e-6f;
  NormTarget target = NormTarget::narrow;
  DType dtype = DType::bf16;  ///< of a narrow y
  void* y = nullptr;
  std::int64_t y_stride = 0;
};

/// From a projection to the operands of attention: bias, norm of every head, rotation, rounding; keys and values go
/// straight to the cache.
struct OperandsCall {
  const float* qkv = nullptr;  ///< [n][(H + 2 G) D]: query heads, key heads, value heads
  std::int64_t n = 0;
  std::int64_t start = 0;  ///< position of row 0 in the cache
  int num_heads = 0, num_kv_heads = 0, head_dim = 0, rotary_dim = 0;
  const float* bias = nullptr;      ///< [(H + 2 G) D] or null
  const float* q_norm_d = nullptr;  ///< RMSNorm weights of every head, or null
  const float* k_norm_d = nullptr;
  float eps = 1e-6f;
  const float* cos_sin = nullptr;  ///< [n][rotary_dim] as in kernels::rope()
  DType dtype = DType::bf16;
  void* q_ihd = nullptr;  ///< [n][H D]
  void* k_gjd = nullptr;  ///< element (g, j, d) at [g * kv_stride + j * head_dim + d]
  void* v_gjd = nullptr;
  std::int64_t kv_stride = 0;
};

/// act(gate) * up, or act(up) where there is no gate.
struct ActivationCall {
  kernels::ActivationKind kind = kernels::ActivationKind::silu;
  bool gated = true;
  std::int64_t n = 0, width = 0;
  DType dtype = DType::bf16;
  const void* in = nullptr;     ///< [n][2 width]: gate, up; [n][width] without a gate
  const float* bias = nullptr;  ///< of `in`, or null
  void* out = nullptr;          ///< [n][width]
};

/// Token embeddings: x[i] = scale * table[ids[i]] (+ positions[start + i]), f32.
struct EmbeddingCall {
  DType dtype = DType::bf16;
  const void* table_vd = nullptr;
  const void* positions_jd = nullptr;  ///< learned positions, or null
  const std::int32_t* ids = nullptr;
  std::int64_t n = 0, d = 0, start = 0;
  float scale = 1.0f;
  float* x_id = nullptr;
};

/// One table of everything, as CudaKernels. Every d, width and head_dim is a multiple of 8.
struct DenseKernels {
  /// @error unsupported  cuBLASLt cannot be loaded (names the library)
  Matmul* (*open_matmul)(Stream stream);
  void (*close_matmul)(Matmul* matmul);
  /// @error failed  what cuBLASLt reported
  void (*matmul)(Matmul* matmul, const MatmulCall& call);

  void (*normalize)(Stream stream, const NormCall& call);
  void (*operands)(Stream stream, const OperandsCall& call);
  void (*activate)(Stream stream, const ActivationCall& call);
  void (*embed)(Stream stream, const EmbeddingCall& call);
  void (*narrow)(Stream stream, DType dtype, const float* x, std::int64_t count, void* y);
  void (*soft_cap)(Stream stream, float* x, float cap, std::int64_t count);  ///< x = cap * tanh(x / cap)
  /// Lowers *first_bad to the smallest row of x [n][d] with NaN or Inf, plus `start`.
  void (*find_nonfinite)(Stream stream, const float* x, std::int64_t n, std::int64_t d, std::int64_t start,
                         int* first_bad);
};

/// The table, or nullptr when Headlight was built without CUDA.
const DenseKernels* dense_kernels();

}  // namespace headlight::cuda
