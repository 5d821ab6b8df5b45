// Kernels beside the two passes: exact rows of a map, and block maps from partial sums.

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/block_reduce.cuh"

namespace headlight::cuda {
namespace {

constexpr int kThreads = 256;

/// Rows and keys whose scores a block computes; a warp takes 32 of the keys.
constexpr int kMapRows = 16, kMapKeys = kThreads;

/// Two neighbouring elements of a row, or zeros.
template <class T>
__device__ __forceinline__ std::uint32_t pair_at(const T* row, int d, bool valid) {
  return valid ? *reinterpret_cast<const std::uint32_t*>(row + d) : 0u;
}

/// Scores of listed rows, base 2, -infinity where a key is invisible. Neighbours in the list share the product of a
/// head.
template <class T>
__global__ void __launch_bounds__(kThreads)
    map_scores_kernel(const AttentionParams p, const MapRow* rows, int num_rows, float* attn) {
  const int lane = threadIdx.x % 32, first = static_cast<int>(blockIdx.x) * kMapRows;
  const int key = static_cast<int>(blockIdx.y) * kMapKeys + static_cast<int>(threadIdx.x) / 32 * 32;
  const auto listed = [&](int r) { return rows[min(first + r, num_rows - 1)]; };
  const MapRow mine[2] = {listed(lane / 4), listed(lane / 4 + 8)};
  const T* q[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    q[r] = static_cast<const T*>(p.q) + mine[r].row * p.q_stride + mine[r].head * p.head_dim + 2 * (lane & 3);
  for (int r = 0; r < kMapRows; ++r) {
    const int head = listed(r).head;
    if (r > 0 && head == listed(r - 1).head) continue;
    const T* k = static_cast<const T*>(p.k) + p.kv_head(head) * p.kv_stride + 2 * (lane & 3);
    float s[4][4] = {};
    for (int d = 0; d < p.head_dim; d += 16) {
      const bool second = d + 8 < p.head_dim;
      const std::uint32_t a[4] = {pair_at(q[0], d, true), pair_at(q[1], d, true), pair_at(q[0], d + 8, second),
                                  pair_at(q[1], d + 8, second)};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int j = key + 8 * n + lane / 4;
        const T* row = k + static_cast<std::int64_t>(j) * p.kv_row_stride;
        multiply_add<T>(s[n], a, pair_at(row, d, j < p.num_keys), pair_at(row, d + 8, second && j < p.num_keys));
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = first + lane / 4 + 8 * (e / 2), j = key + 8 * n + 2 * (lane & 3) + (e & 1);
        if (i >= num_rows || mine[e / 2].head != head || j >= p.num_keys) continue;
        const float score = p.cap_log2 == 0.0f ? s[n][e] * p.unit_log2 : p.cap_log2 * tanhf(s[n][e] * p.cap_inner);
        attn[static_cast<std::int64_t>(i) * p.num_keys + j] =
            p.visible(p.query_start + mine[e / 2].row, j) ? score : -__builtin_huge_valf();
      }
  }
}

/// One block per row: scores become weights.
__global__ void __launch_bounds__(kThreads)
    map_weights_kernel(const AttentionParams p, const MapRow* rows, float* attn) {
  __shared__ float shared[kThreads / 32];
  float* out = attn + static_cast<std::int64_t>(blockIdx.x) * p.num_keys;
  const float null = p.null_logit != nullptr ? p.null_logit[rows[blockIdx.x].head] * kLog2e : -__builtin_huge_valf();
  float top = null;
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads) top = fmaxf(top, out[j]);
  top = block_reduce<kThreads>(top, Largest{}, shared);
  if (top == -__builtin_huge_valf()) top = 0.0f;
  float sum = threadIdx.x == 0 ? exp2f(null - top) : 0.0f;
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads) sum += exp2f(out[j] - top);
  sum = block_reduce<kThreads>(sum, Add{}, shared);
  for (int j = static_cast<int>(threadIdx.x); j < p.num_keys; j += kThreads)
    out[j] = out[j] == -__builtin_huge_valf() ? 0.0f : exp2f(out[j] - top) / sum;
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
  const auto scores = dtype == DType::bf16 ? map_scores_kernel<Bf16> : map_scores_kernel<F16>;
  const dim3 blocks(static_cast<unsigned>((num_rows + kMapRows - 1) / kMapRows),
                    static_cast<unsigned>((p.num_keys + kMapKeys - 1) / kMapKeys));
  scores<<<blocks, kThreads, 0, stream>>>(p, rows, static_cast<int>(num_rows), attn);
  check_launch("map_scores");
  map_weights_kernel<<<static_cast<unsigned>(num_rows), kThreads, 0, stream>>>(p, rows, attn);
  check_launch("map_weights");
}

void launch_reduce_blocks(const AttentionParams& p, cudaStream_t stream) {
  const std::int64_t blocks = p.num_heads * p.to.block_count * p.to.block_count;
  reduce_blocks_kernel<<<static_cast<unsigned>((blocks + kThreads - 1) / kThreads), kThreads, 0, stream>>>(p);
  check_launch("reduce_blocks");
}

}  // namespace headlight::cuda
