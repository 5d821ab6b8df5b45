#pragma once

#include <cstdint>

#include "kernels_cuda/cuda_kernels.h"

// What a capture records beside the statistics of attention: facts of the residual stream, norms, top-k entries. As in
// cuda_kernels.h, pointers of a call are device memory and calls return before the work is done.
namespace headlight::cuda {

/// Facts of rows x [n][d]: each array [n].
struct HiddenCall {
  const float* x_id = nullptr;
  std::int64_t n = 0, d = 0;
  const float* first_d = nullptr;  ///< state of the first token at this level
  float *norm_l2 = nullptr, *absmax = nullptr, *mean = nullptr, *rms = nullptr, *cos_first = nullptr;
  std::int32_t* absmax_dim = nullptr;  ///< the smallest that attains it
  float* largest = nullptr;            ///< raised to the largest absmax; >= 0 before
};

/// Lower median of |x|, exact, from three histograms of the digits of the bit patterns.
struct MedianCall {
  const float* x = nullptr;
  std::int64_t count = 0;
  const float* largest = nullptr;  ///< the median is infinity unless *largest > only_above
  float only_above = -1.0f;        ///< negative: always exact
  void* scratch = nullptr;         ///< median_scratch_bytes()
  float* median = nullptr;
};

struct MassiveEntry {
  std::int32_t row = 0, dim = 0;  ///< row of the call
  float value = 0.0f;
};

/// Entries with |x| > max(absolute, over_median * median), in no particular order.
struct MassiveCall {
  const float* x_id = nullptr;
  std::int64_t n = 0, d = 0;
  const float* absmax = nullptr;  ///< [n]
  const float* median = nullptr;
  float absolute = 0.0f, over_median = 0.0f;
  MassiveEntry* entries = nullptr;  ///< [capacity]
  std::int64_t capacity = 0;
  std::int32_t* found = nullptr;  ///< added to; may exceed the capacity
};

/// L2 norm of rows of heads: out[g * out_stride + i] of element (g, i, d) at x[g * head_stride + i * head_dim + d].
struct HeadNormsCall {
  DType dtype = DType::bf16;
  const void* x = nullptr;
  std::int64_t n = 0, head_stride = 0;
  int num_heads = 0, head_dim = 0;
  float* out = nullptr;
  std::int64_t out_stride = 0;
};

/// Gram matrices of the heads' slices of an output projection, W_h^T W_h, in two 16-bit parts whose sum has at least 16
/// bits, for the tensor cores. @see headlight::engine::ValueNorms, the twin on the CPU
struct GramCall {
  DType dtype = DType::bf16;
  const void* w = nullptr;  ///< [rows][num_heads * head_dim]
  std::int64_t rows = 0;
  int num_heads = 0, head_dim = 0;
  float* scratch = nullptr;  ///< [num_heads][P][P], P = padded_head_dim(head_dim)
  void* parts = nullptr;     ///< [num_heads][2][P][P]
  float* scale_h = nullptr;  ///< Gram = scale * (high + low)
};

/// |W_h v| of every value row and every query head that reads it: out[h * out_stride + i].
struct ValueNormsCall {
  DType dtype = DType::bf16;
  const void* v = nullptr;  ///< element (g, i, d) at v[g * head_stride + i * head_dim + d]
  std::int64_t n = 0, head_stride = 0;
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  const void* parts = nullptr;  ///< of GramCall
  const float* scale_h = nullptr;
  float* out = nullptr;
  std::int64_t out_stride = 0;
};

struct KeySpan {
  std::int32_t begin = 0, end = 0;
};

/// The k largest entries of each row among its keys, ascending keys; ties go to the smaller key. Rows with fewer keys
/// give them all: the first min(k, size) entries of a row's slots are written.
struct TopkCall {
  const float* attn = nullptr;  ///< [num_rows][num_keys], not negative
  std::int64_t num_rows = 0, num_keys = 0;
  const KeySpan* visible = nullptr;  ///< [num_rows]
  int k = 0;
  std::int32_t* keys = nullptr;  ///< [num_rows][k]
  float* values = nullptr;       ///< [num_rows][k]
  float* remainder = nullptr;    ///< [num_rows] sum of the entries that are not listed
};

/// One table of everything, as CudaKernels. d and head_dim are multiples of 8, head_dim at most 256.
struct FactKernels {
  void (*hidden)(Stream stream, const HiddenCall& call);
  void (*median)(Stream stream, const MedianCall& call);
  std::size_t (*median_scratch_bytes)();
  void (*massive)(Stream stream, const MassiveCall& call);
  void (*head_norms)(Stream stream, const HeadNormsCall& call);
  int (*padded_head_dim)(int head_dim);
  void (*gram)(Stream stream, const GramCall& call);
  void (*value_norms)(Stream stream, const ValueNormsCall& call);
  void (*topk)(Stream stream, const TopkCall& call);
};

/// The table, or nullptr when Headlight was built without CUDA.
const FactKernels* fact_kernels();

}  // namespace headlight::cuda
