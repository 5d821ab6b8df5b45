// First pass, portable tier: output and row statistics. A block owns 64 queries of one head and walks over their
// visible keys in ascending order; a warp owns 16 queries.

#pragma once

#include "kernels_cuda/attention_launch.cuh"
#include "kernels_cuda/attention_row_statistics.cuh"
#include "kernels_cuda/attention_tile.cuh"

namespace headlight::cuda {

template <class T, int kDim, bool kStatistics>
struct RowKernel {
  static constexpr int kQueries = 64, kThreads = 128;
  static constexpr int kKeys = kDim <= 128 ? 64 : 32;
  static constexpr int kTile = kKeys * kTileStride<kDim>;  // elements
  /// Two stages of keys and values, then the sums of the groups.
  static constexpr std::size_t kSharedBytes =
      4 * kTile * sizeof(T) + (kStatistics ? kMaxGroups * kQueries * sizeof(float) : 0);

  __device__ static void run(const AttentionParams& p) {
    extern __shared__ uint4 shared[];
    T* k_tile = reinterpret_cast<T*>(shared);
    T* v_tile = k_tile + 2 * kTile;
    float* group_sums = reinterpret_cast<float*>(v_tile + 2 * kTile);
    const int head = blockIdx.y, kv_head = p.kv_head(head);
    const int first = (gridDim.x - 1 - blockIdx.x) * kQueries;  // the longest rows first
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = first + 16 * warp + lane / 4;
    const T* k = static_cast<const T*>(p.k) + kv_head * p.kv_stride;
    const T* v = static_cast<const T*>(p.v) + kv_head * p.kv_stride;
    if constexpr (kStatistics) {
      for (int c = threadIdx.x; c < kMaxGroups * kQueries; c += kThreads) group_sums[c] = 0.0f;
      __syncthreads();
    }

    std::uint32_t q[kDim / 16][4];
    load_left<T, kDim>(q, static_cast<const T*>(p.q) + head * p.head_dim, p.q_stride, first + 16 * warp, p.num_queries,
                       p.head_dim);
    float out[kDim / 8][4] = {};
    RowStatistics<kKeys, kStatistics> statistics;
    const TileSpan keys =
        visible_keys(p, p.query_start + first, p.query_start + min(first + kQueries, p.num_queries) - 1);
    const int begin = keys.begin / kKeys, end = (keys.end + kKeys - 1) / kKeys;
    const auto load = [&](int tile) {
      const int stage = tile & 1;
      load_tile<T, kKeys, kDim, kThreads>(k_tile + stage * kTile, k, p.kv_row_stride, tile * kKeys, p.num_keys,
                                          p.head_dim);
      load_tile<T, kKeys, kDim, kThreads>(v_tile + stage * kTile, v, p.kv_row_stride, tile * kKeys, p.num_keys,
                                          p.head_dim);
      commit_copies();
    };
    if (begin < end) load(begin);
    for (int tile = begin; tile < end; ++tile) {
      if (tile + 1 < end) load(tile + 1);
      tile + 1 < end ? wait_copies<1>() : wait_copies<0>();
      __syncthreads();
      const int lowest = p.query_start + first + 16 * warp;
      const TilePlace place{tile * kKeys, p.query_start + row, lowest, lowest + 15};
      float s[kKeys / 8][4];
      multiply_transposed<T, kDim, kKeys>(s, q, k_tile + (tile & 1) * kTile);
      float alpha[2];
      float* sums = group_sums + 16 * warp + lane / 4;
      if (statistics.add_tile(p, place, s, alpha, sums, kQueries)) {
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) out[n][e] *= alpha[e / 2];
      }
      add_product<T, kDim, kKeys>(out, s, v_tile + (tile & 1) * kTile);
      __syncthreads();
    }
    float inverse[2];
    statistics.finish(p, head, inverse);
    statistics.write(p, head, row, lane % 4, inverse, group_sums + 16 * warp + lane / 4, kQueries);
    write_output<T, kDim>(p, head, row, lane % 4, out, inverse);
  }
};

template <class T, int kDim, bool kStatistics>
__global__ void __launch_bounds__(128) attention_rows_kernel(const AttentionParams p) {
  RowKernel<T, kDim, kStatistics>::run(p);
}

template <class T, int kDim, bool kStatistics>
void launch_row_kernel(const AttentionParams& p, cudaStream_t stream) {
  using Kernel = RowKernel<T, kDim, kStatistics>;
  launch_per_head("attention_rows", attention_rows_kernel<T, kDim, kStatistics>, p, p.num_queries, Kernel::kQueries,
                  Kernel::kThreads, Kernel::kSharedBytes, stream);
}

/// Defined once per head size, so that they compile in parallel.
template <int kDim>
void launch_rows_of(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream);

#define HEADLIGHT_DEFINE_ROWS(dim)                                                                                 \
  template <>                                                                                                      \
  void launch_rows_of<dim>(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream) {          \
    if (dtype == DType::bf16)                                                                                      \
      statistics ? launch_row_kernel<Bf16, dim, true>(p, stream) : launch_row_kernel<Bf16, dim, false>(p, stream); \
    else                                                                                                           \
      statistics ? launch_row_kernel<F16, dim, true>(p, stream) : launch_row_kernel<F16, dim, false>(p, stream);   \
  }

}  // namespace headlight::cuda
