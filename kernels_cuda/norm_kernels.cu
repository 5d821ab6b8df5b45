// Norms of keys, of values, and of what heads write.

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/block_reduce.cuh"
#include "kernels_cuda/facts_launch.h"
#include "kernels_cuda/ptx.cuh"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// One warp per row of a head.
template <class T>
__global__ void __launch_bounds__(kThreads) head_norms_kernel(const HeadNormsCall c) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (i >= c.n) return;
  const T* x = static_cast<const T*>(c.x) + blockIdx.y * c.head_stride + i * c.head_dim;
  float squares = 0.0f;
  for (int e = static_cast<int>(threadIdx.x) % 32; e < c.head_dim; e += 32) {
    const float value = to_float(x[e]);
    squares = fmaf(value, value, squares);
  }
  for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, step);
  if (threadIdx.x % 32 == 0) c.out[blockIdx.y * c.out_stride + i] = sqrtf(squares);
}

// ---- Gram matrices
// -----------------------------------------------------------------------------------------------------

constexpr int kGramTile = 64, kGramRows = 16;
constexpr float kGramTop = 1024.0f;  // largest entry of the parts: the low part of f16 keeps its bits

/// A 64 x 64 tile of one head's matrix, 4 x 4 a thread, in f32. Columns beyond head_dim count as 0.
template <class T>
__global__ void __launch_bounds__(kThreads) gram_kernel(const GramCall c, int padded) {
  __shared__ float left[kGramRows][kGramTile], right[kGramRows][kGramTile];
  const int a0 = static_cast<int>(blockIdx.x) * kGramTile, b0 = static_cast<int>(blockIdx.y) * kGramTile;
  const std::int64_t width = static_cast<std::int64_t>(c.num_heads) * c.head_dim;
  const T* w = static_cast<const T*>(c.w) + static_cast<std::int64_t>(blockIdx.z) * c.head_dim;
  const int ta = static_cast<int>(threadIdx.x) / 16 * 4, tb = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for (std::int64_t row = 0; row < c.rows; row += kGramRows) {
    __syncthreads();
    for (int k = static_cast<int>(threadIdx.x); k < kGramRows * kGramTile; k += kThreads) {
      const int r = k / kGramTile, e = k % kGramTile;
      const bool there = row + r < c.rows;
      left[r][e] = there && a0 + e < c.head_dim ? to_float(w[(row + r) * width + a0 + e]) : 0.0f;
      right[r][e] = there && b0 + e < c.head_dim ? to_float(w[(row + r) * width + b0 + e]) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kGramRows; ++r)
#pragma unroll
      for (int a = 0; a < 4; ++a)
#pragma unroll
        for (int b = 0; b < 4; ++b) sums[a][b] = fmaf(left[r][ta + a], right[r][tb + b], sums[a][b]);
  }
  float* out = c.scratch + static_cast<std::int64_t>(blockIdx.z) * padded * padded;
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b)
      if (a0 + ta + a < padded && b0 + tb + b < padded) out[(a0 + ta + a) * padded + b0 + tb + b] = sums[a][b];
}

/// One block per head. The largest entry of a Gram matrix is on its diagonal.
template <class T>
__global__ void __launch_bounds__(kThreads) split_gram_kernel(const GramCall c, int padded) {
  __shared__ float shared[kWarps];
  const std::int64_t size = static_cast<std::int64_t>(padded) * padded;
  const float* gram = c.scratch + blockIdx.x * size;
  T *high = static_cast<T*>(c.parts) + blockIdx.x * 2 * size, *low = high + size;
  float top = 0.0f;
  for (int e = static_cast<int>(threadIdx.x); e < padded; e += kThreads)
    top = fmaxf(top, gram[static_cast<std::int64_t>(e) * padded + e]);
  top = block_reduce<kThreads>(top, Largest{}, shared);
  const float factor = top > 0.0f ? kGramTop / top : 0.0f;
  for (std::int64_t k = threadIdx.x; k < size; k += kThreads) {
    const float x = gram[k] * factor;
    high[k] = narrowed<T>(x);
    low[k] = narrowed<T>(x - to_float(high[k]));
  }
  if (threadIdx.x == 0) c.scale_h[blockIdx.x] = top / kGramTop;
}

// ---- what heads write
// --------------------------------------------------------------------------------------------------

__device__ float2 widened(std::uint32_t pair, Bf16) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
}
__device__ float2 widened(std::uint32_t pair, F16) {
  return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}

/// Rows of a warp, in sets of 16: every piece of the Gram matrix that it loads serves all of them.
template <int kDim>
constexpr int kRowSets = kDim <= 128 ? 2 : 1;

/// v^T (high + low) v, the product in 16 x 8 tiles that are reduced at once. The matrices are symmetric, so that their
/// rows serve as the columns the instruction wants.
template <class T, int kDim>
__global__ void __launch_bounds__(kThreads) value_norms_kernel(const ValueNormsCall c) {
  constexpr int kSets = kRowSets<kDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32, head = static_cast<int>(blockIdx.y);
  const std::int64_t row0 = (static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32) * 16 * kSets;
  if (row0 >= c.n) return;
  const T* v = static_cast<const T*>(c.v) + head * c.num_kv_heads / c.num_heads * c.head_stride;
  const auto row_of = [&](int set, int r) { return row0 + 16 * set + lane / 4 + 8 * r; };
  const auto pair_of = [&](int set, int r, int e) {
    const std::int64_t row = row_of(set, r);
    return row < c.n && e < c.head_dim ? *reinterpret_cast<const std::uint32_t*>(v + row * c.head_dim + e) : 0u;
  };
  std::uint32_t a[kSets][kDim / 16][4];
#pragma unroll
  for (int set = 0; set < kSets; ++set)
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int part = 0; part < 4; ++part)
        a[set][k][part] = pair_of(set, part % 2, k * 16 + part / 2 * 8 + lane % 4 * 2);
  const T* high = static_cast<const T*>(c.parts) + static_cast<std::int64_t>(head) * 2 * kDim * kDim;
  float sums[kSets][2] = {};
  for (int e = 0; e < c.head_dim; e += 8) {
    float product[kSets][4] = {};
    const T* column = high + (e + lane / 4) * kDim + lane % 4 * 2;
#pragma unroll
    for (int part = 0; part < 2; ++part)
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        const T* b = column + part * kDim * kDim + k * 16;
        const std::uint32_t b0 = *reinterpret_cast<const std::uint32_t*>(b),
                            b1 = *reinterpret_cast<const std::uint32_t*>(b + 8);
#pragma unroll
        for (int set = 0; set < kSets; ++set) multiply_add<T>(product[set], a[set][k], b0, b1);
      }
#pragma unroll
    for (int set = 0; set < kSets; ++set)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 x = widened(pair_of(set, r, e + lane % 4 * 2), T{});
        sums[set][r] = fmaf(product[set][2 * r], x.x, fmaf(product[set][2 * r + 1], x.y, sums[set][r]));
      }
  }
#pragma unroll
  for (int set = 0; set < kSets; ++set)
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float square = quad_sum(sums[set][r]) * c.scale_h[head];
      if (lane % 4 == 0 && row_of(set, r) < c.n)
        c.out[head * c.out_stride + row_of(set, r)] = sqrtf(fmaxf(0.0f, square));
    }
}

template <int kDim>
void launch_value_norms_of(const ValueNormsCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? value_norms_kernel<F16, kDim> : value_norms_kernel<Bf16, kDim>;
  constexpr int kRows = kWarps * 16 * kRowSets<kDim>;
  const dim3 grid(static_cast<unsigned>((call.n + kRows - 1) / kRows), static_cast<unsigned>(call.num_heads));
  kernel<<<grid, kThreads, 0, stream>>>(call);
}

}  // namespace

void launch_head_norms(const HeadNormsCall& call, cudaStream_t stream) {
  const auto kernel = call.dtype == DType::f16 ? head_norms_kernel<F16> : head_norms_kernel<Bf16>;
  const dim3 grid(static_cast<unsigned>((call.n + kWarps - 1) / kWarps), static_cast<unsigned>(call.num_heads));
  kernel<<<grid, kThreads, 0, stream>>>(call);
  check_launch("head_norms");
}

void launch_gram(const GramCall& call, int padded_dim, cudaStream_t stream) {
  const bool half = call.dtype == DType::f16;
  const auto tiles = static_cast<unsigned>((padded_dim + kGramTile - 1) / kGramTile);
  const dim3 grid(tiles, tiles, static_cast<unsigned>(call.num_heads));
  const auto product = half ? gram_kernel<F16> : gram_kernel<Bf16>;
  const auto split = half ? split_gram_kernel<F16> : split_gram_kernel<Bf16>;
  product<<<grid, kThreads, 0, stream>>>(call, padded_dim);
  split<<<static_cast<unsigned>(call.num_heads), kThreads, 0, stream>>>(call, padded_dim);
  check_launch("gram");
}

void launch_value_norms(const ValueNormsCall& call, int padded_dim, cudaStream_t stream) {
  switch (padded_dim) {
    case 64:
      launch_value_norms_of<64>(call, stream);
      break;
    case 80:
      launch_value_norms_of<80>(call, stream);
      break;
    case 96:
      launch_value_norms_of<96>(call, stream);
      break;
    case 128:
      launch_value_norms_of<128>(call, stream);
      break;
    default:
      launch_value_norms_of<256>(call, stream);
  }
  check_launch("value_norms");
}

}  // namespace headlight::cuda
