// Second pass, portable tier: columns and block maps, given lse. A block owns 128 keys of one head and walks over the
// queries that can see them; a warp owns 16 keys, held in registers.

#pragma once

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/attention_launch.cuh"
#include "kernels_cuda/attention_tile.cuh"

namespace headlight::cuda {

template <class T, int kDim>
struct ColumnKernel {
  static constexpr int kKeys = kColumnTileKeys, kThreads = 2 * kKeys;
  static constexpr int kQueries = kDim <= 128 ? 64 : 32;
  static constexpr int kTile = kQueries * kTileStride<kDim>;  // elements
  using Tile = ColumnTile<kQueries>;
  struct Shared {
    float lse[2][kQueries];
    typename BlockSums<kQueries>::Shared blocks;
  };
  static constexpr std::size_t shared_bytes(int block_edge) {
    const bool staged = block_edge > 0 && block_edge < 16;
    return 2 * kTile * sizeof(T) + sizeof(Shared) + (staged ? kThreads / 32 * SmallBlocks<kQueries>::kBytesPerWarp : 0);
  }

  __device__ static void run(const AttentionParams& p) {
    extern __shared__ uint4 shared_memory[];
    T* q_tile = reinterpret_cast<T*>(shared_memory);
    Shared& shared = *reinterpret_cast<Shared*>(q_tile + 2 * kTile);
    const int head = blockIdx.y, first_key = blockIdx.x * kKeys;  // the longest columns first
    const int warp = threadIdx.x / 32, warp_key = first_key + 16 * warp;
    float* staging = reinterpret_cast<float*>(&shared + 1) + warp * 16 * SmallBlocks<kQueries>::kStride;
    const T* q = static_cast<const T*>(p.q) + head * p.head_dim;
    std::uint32_t k[kDim / 16][4];
    load_left<T, kDim>(k, static_cast<const T*>(p.k) + p.kv_head(head) * p.kv_stride, p.kv_row_stride, warp_key,
                       p.num_keys, p.head_dim);
    const int2 visible = Tile::visible_queries(p, first_key, min(first_key + kKeys, p.num_keys) - 1);
    const int begin = visible.x / kQueries, end = visible.y > visible.x ? (visible.y + kQueries - 1) / kQueries : begin;
    const auto load = [&](int tile) {
      const int stage = tile & 1, row = tile * kQueries - p.query_start;
      load_tile<T, kQueries, kDim, kThreads>(q_tile + stage * kTile, q, p.q_stride, row, p.num_queries, p.head_dim);
      Tile::load_lse(p, head, row, shared.lse[stage]);
      commit_copies();
    };
    float column[2] = {0, 0}, tail[2] = {0, 0};
    BlockSums<kQueries> blocks(p, head, first_key, shared.blocks);
    const bool has_blocks = p.block_edge >= 16, has_small_blocks = p.block_edge > 0 && !has_blocks;
    if (begin < end) load(begin);
    for (int tile = begin; tile < end; ++tile) {
      if (tile + 1 < end) load(tile + 1);
      tile + 1 < end ? wait_copies<1>() : wait_copies<0>();
      Tile::to_base_2(shared.lse[tile & 1]);
      __syncthreads();
      if (has_blocks && tile > begin) blocks.collect(tile - 1);
      float w[kQueries / 8][4];
      multiply_transposed<T, kDim, kQueries>(w, k, q_tile + (tile & 1) * kTile);
      Tile::weigh(p, tile * kQueries, warp_key, shared.lse[tile & 1], w);
      float sums[Tile::kParts];
      int maxima[Tile::kParts];
      Tile::add_columns(p, tile * kQueries, w, column, tail, sums, maxima);
      if (has_blocks) blocks.leave(tile, sums, maxima);
      if (has_small_blocks) SmallBlocks<kQueries>::add(p, head, warp_key, tile * kQueries, w, staging);
      __syncthreads();
    }
    if (has_blocks && begin < end) {
      blocks.collect(end - 1);
      blocks.finish();
    }
    Tile::write_columns(p, head, warp_key, column, tail);
  }
};

template <class T, int kDim>
__global__ void __launch_bounds__(256) attention_columns_kernel(const AttentionParams p) {
  ColumnKernel<T, kDim>::run(p);
}

template <class T, int kDim>
void launch_column_kernel(const AttentionParams& p, cudaStream_t stream) {
  using Kernel = ColumnKernel<T, kDim>;
  launch_per_head("attention_columns", attention_columns_kernel<T, kDim>, p, p.num_keys, Kernel::kKeys,
                  Kernel::kThreads, Kernel::shared_bytes(p.block_edge), stream);
}

/// Defined once per head size, so that they compile in parallel.
template <int kDim>
void launch_columns_of(const AttentionParams& p, DType dtype, cudaStream_t stream);

#define HEADLIGHT_DEFINE_COLUMNS(dim)                                                                              \
  template <>                                                                                                      \
  void launch_columns_of<dim>(const AttentionParams& p, DType dtype, cudaStream_t stream) {                        \
    dtype == DType::bf16 ? launch_column_kernel<Bf16, dim>(p, stream) : launch_column_kernel<F16, dim>(p, stream); \
  }

}  // namespace headlight::cuda
