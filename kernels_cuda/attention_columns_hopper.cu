// Second pass on wgmma, head sizes 64 and 128: a block owns 128 keys of one head, a warpgroup 64 of them, and walks
// over tiles of 128 queries. Two blocks share a multiprocessor, so that one multiplies while the other takes
// exponentials.

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/attention_launch.cuh"
#include "kernels_cuda/attention_tile_hopper.cuh"

namespace headlight::cuda {
namespace {

template <class T, int kDim>
struct HopperColumnKernel {
  static constexpr int kKeys = kColumnTileKeys, kQueries = 128, kThreads = 256;
  using Tile = ColumnTile<kQueries>;
  struct Shared {
    T k[kKeys * kDim], q[2][kQueries * kDim];
    float lse[2][kQueries];
    typename BlockSums<kQueries>::Shared blocks;
  };
  static constexpr std::size_t kSharedBytes = sizeof(Shared) + 1024;  // room to align

  __device__ static void run(const AttentionParams& p) {
    extern __shared__ char shared_memory[];
    Shared& shared = *reinterpret_cast<Shared*>(shared_memory + (1024 - (shared_address(shared_memory) & 1023) & 1023));
    const int head = blockIdx.y, first_key = blockIdx.x * kKeys;  // the longest columns first
    const int warpgroup = threadIdx.x / 128, warp_key = first_key + 16 * (threadIdx.x / 32);
    const T* q = static_cast<const T*>(p.q) + head * p.head_dim;
    const int2 visible = Tile::visible_queries(p, first_key, min(first_key + kKeys, p.num_keys) - 1);
    const int begin = visible.x / kQueries, end = visible.y > visible.x ? (visible.y + kQueries - 1) / kQueries : begin;
    const auto load = [&](int tile) {
      const int stage = tile & 1, row = tile * kQueries - p.query_start;
      load_swizzled<T, kQueries, kDim, kThreads>(shared.q[stage], q, p.q_stride, row, p.num_queries, threadIdx.x);
      Tile::load_lse(p, head, row, shared.lse[stage]);
      commit_copies();
    };
    load_swizzled<T, kKeys, kDim, kThreads>(shared.k, static_cast<const T*>(p.k) + p.kv_head(head) * p.kv_stride,
                                            p.kv_row_stride, first_key, p.num_keys, threadIdx.x);
    float column[2] = {0, 0}, tail[2] = {0, 0};
    BlockSums<kQueries> blocks(p, head, first_key, shared.blocks);
    if (begin < end) load(begin);
    for (int tile = begin; tile < end; ++tile) {
      if (tile + 1 < end) load(tile + 1);
      tile + 1 < end ? wait_copies<1>() : wait_copies<0>();
      publish_to_products();
      __syncthreads();
      float w[kQueries / 8][4];
      fence_products();
      issue_scores<T, kDim, kKeys>(w, shared.k, warpgroup, shared.q[tile & 1]);
      commit_products();
      if (p.block_edge > 0 && tile > begin) blocks.collect(tile - 1);
      wait_products<0>();
      pin(w);
      Tile::weigh(p, tile * kQueries, warp_key, shared.lse[tile & 1], w);
      float sums[Tile::kParts];
      int maxima[Tile::kParts];
      Tile::add_columns(p, tile * kQueries, w, column, tail, sums, maxima);
      if (p.block_edge > 0) blocks.leave(tile, sums, maxima);
      __syncthreads();
    }
    if (p.block_edge > 0 && begin < end) {
      blocks.collect(end - 1);
      blocks.finish();
    }
    wait_copies<0>();
    Tile::write_columns(p, head, warp_key, column, tail);
  }
};

template <class T, int kDim>
__global__ void __launch_bounds__(256, 2) attention_columns_hopper_kernel(const AttentionParams p) {
  HopperColumnKernel<T, kDim>::run(p);
}

template <class T, int kDim>
void launch(const AttentionParams& p, cudaStream_t stream) {
  using Kernel = HopperColumnKernel<T, kDim>;
  launch_per_head("attention_columns_hopper", attention_columns_hopper_kernel<T, kDim>, p, p.num_keys, Kernel::kKeys,
                  Kernel::kThreads, Kernel::kSharedBytes, stream);
}

}  // namespace

void launch_columns_hopper(const AttentionParams& p, DType dtype, cudaStream_t stream) {
  if (p.head_dim == 128)
    dtype == DType::bf16 ? launch<Bf16, 128>(p, stream) : launch<F16, 128>(p, stream);
  else
    dtype == DType::bf16 ? launch<Bf16, 64>(p, stream) : launch<F16, 64>(p, stream);
}

}  // namespace headlight::cuda
