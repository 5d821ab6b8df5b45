// Kernels beside the two passes: exact rows of a map, and block maps from partial sums.

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/block_reduce.cuh"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ float dot(const T* a, const T* b, int count) {
  float sum = 0.0f;
  for (int d = 0; d < count; d += 8) {
    const uint4 x = *reinterpret_cast<const uint4*>(a + d), y = *reinterpret_cast<const uint4*>(b + d);
    const T *u = reinterpret_cast<const T*>(&x), *v = reinterpret_cast<const T*>(&y);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum = fmaf(to_float(u[e]), to_float(v[e]), sum);
  }
  return sum;
}

/// One block per row: scores, their maximum and sum, weights.
template <class T>
__global__ void __launch_bounds__(kThreads) map_rows_kernel(const AttentionParams p, const MapRow* rows, float* attn) {
  __shared__ float shared[kThreads / 32];
  const int head = rows[blockIdx.x].head, row = rows[blockIdx.x].row, position = p.query_start + row;
  float* out = attn + static_cast<std::int64_t>(blockIdx.x) * p.num_keys;
  const T* q = static_cast<const T*>(p.q) + row * p.q_stride + head * p.head_dim;
  const T* k = static_cast<const T*>(p.k) + p.kv_head(head) * p.kv_stride;
  const float null = p.null_logit != nullptr ? p.null_logit[head] * kLog2e : -__builtin_huge_valf();
  float top = null;
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads) {
    float s = -__builtin_huge_valf();
    if (p.visible(position, j)) {
      const float product = dot(q, k + j * p.kv_row_stride, p.head_dim);
      s = p.cap_log2 == 0.0f ? product * p.unit_log2 : p.cap_log2 * tanhf(product * p.cap_inner);
    }
    out[j] = s;
    top = fmaxf(top, s);
  }
  top = block_reduce<kThreads>(top, Largest{}, shared);
  if (top == -__builtin_huge_valf()) top = 0.0f;
  float sum = threadIdx.x == 0 ? exp2f(null - top) : 0.0f;
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads) {
    const float w = exp2f(out[j] - top);
    out[j] = w;
    sum += w;
  }
  sum = block_reduce<kThreads>(sum, Add{}, shared);
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads)
    out[j] = p.visible(position, j) ? out[j] / sum : 0.0f;
}

/// Blocks wider than a key tile: each thread adds up the tiles of one block.
__global__ void __launch_bounds__(kThreads) reduce_blocks_kernel(const AttentionParams p) {
  const std::int64_t count = p.to.block_count, tiles = (p.num_keys + kColumnTileKeys - 1) / kColumnTileKeys;
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (block >= p.num_heads * count * count) return;
  const std::int64_t row = block / count, per_block = p.block_edge / kColumnTileKeys, first = block % count * per_block;
  float sum = 0.0f;
  int largest = 0;
  for (std::int64_t tile = first; tile < min(first + per_block, tiles); ++tile) {
    sum += p.partial_sum[row * tiles + tile];
    largest = max(largest, bits_of(p.partial_max[row * tiles + tile]));
  }
  add_block(p.to.block_sum + block, p.to.block_max + block, sum, largest);
}

}  // namespace

void launch_map_rows(const AttentionParams& p, DType dtype, const MapRow* rows, std::int64_t num_rows, float* attn,
                     cudaStream_t stream) {
  const auto kernel = dtype == DType::bf16 ? map_rows_kernel<Bf16> : map_rows_kernel<F16>;
  kernel<<<static_cast<unsigned>(num_rows), kThreads, 0, stream>>>(p, rows, attn);
  check_launch("map_rows");
}

void launch_reduce_blocks(const AttentionParams& p, cudaStream_t stream) {
  const std::int64_t blocks = p.num_heads * p.to.block_count * p.to.block_count;
  reduce_blocks_kernel<<<static_cast<unsigned>((blocks + kThreads - 1) / kThreads), kThreads, 0, stream>>>(p);
  check_launch("reduce_blocks");
}

}  // namespace headlight::cuda
