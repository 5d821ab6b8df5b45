// Second pass on wgmma, head sizes 64 and 128: a block owns 256 keys of one head and walks over tiles of 128 queries.
// Four warpgroups compute 64 keys each; of the fifth, one warp starts the copies of queries, one fetches lse, and one
// adds up the block map from what the others leave. Nobody waits for all, so that some multiply while others take
// exponentials.

#include "kernels_cuda/attention_column_sums.cuh"
#include "kernels_cuda/attention_launch_hopper.cuh"
#include "kernels_cuda/attention_tile_hopper.cuh"

namespace headlight::cuda {
namespace {

constexpr int kKeys = 256, kQueries = 128, kComputing = 512, kThreads = kComputing + 128, kStages = 3;
constexpr int kWarpgroups = kComputing / 128, kWarps = kComputing / 32, kParts = kQueries / 16;

/// Sums and maxima of a tile: 16 keys of each warp x parts of the queries, as many as the edge of a block needs.
struct Cells {
  float sum[kWarps][kParts];
  int largest[kWarps][kParts];
};

template <int kCount>
__device__ __forceinline__ void leave_parts(Cells& cells, const float (&sums)[kParts], const int (&maxima)[kParts]) {
  float sum[kCount];
  int largest[kCount];
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    constexpr int kEach = kParts / kCount;
    sum[c] = sums[c * kEach];
    largest[c] = maxima[c * kEach];
#pragma unroll
    for (int k = c * kEach + 1; k < (c + 1) * kEach; ++k) {
      sum[c] += sums[k];
      largest[c] = max(largest[c], maxima[k]);
    }
  }
  const float all = reduce_parts(sum, Add{});
  const int high = reduce_parts(largest, MaxBits{});
  constexpr int kLanes = 32 / kCount;  // that hold the same part
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane % kLanes != 0) return;
  cells.sum[warp][lane / kLanes] = all;
  cells.largest[warp][lane / kLanes] = high;
}

/// What a warp of 16 keys adds to the block map.
__device__ __forceinline__ void leave(int block_edge, Cells& cells, const float (&sums)[kParts],
                                      const int (&maxima)[kParts]) {
  if (block_edge >= 128)
    leave_parts<1>(cells, sums, maxima);
  else if (block_edge == 64)
    leave_parts<2>(cells, sums, maxima);
  else if (block_edge == 32)
    leave_parts<4>(cells, sums, maxima);
  else
    leave_parts<8>(cells, sums, maxima);
}

/// Adds up the block map of one tile of keys: one warp, each lane some blocks, in a fixed order.
class BlockCollector {
 public:
  __device__ BlockCollector(const AttentionParams& p, int head, int first_key)
      : p_(p), head_(head), first_key_(first_key) {
    parts_ = kQueries / min(p.block_edge, kQueries);
    warps_ = min(p.block_edge, kKeys) / 16;
  }

  /// @param tile  of queries, from absolute position tile * kQueries
  __device__ void add(int tile, const Cells& cells) {
    for (int block = threadIdx.x % 32; block < kWarps / warps_ * parts_; block += 32) {
      const int key_block = block / parts_, part = block % parts_;
      for (int warp = key_block * warps_; warp < (key_block + 1) * warps_; ++warp) {
        sum_ += cells.sum[warp][part];
        largest_ = max(largest_, cells.largest[warp][part]);
      }
      next_ = tile * kQueries + (part + 1) * (kQueries / parts_);
      if (next_ % p_.block_edge == 0) flush(key_block);
    }
  }

  /// Adds what is left of an unfinished block.
  __device__ void finish() {
    if (next_ > 0) flush(threadIdx.x % 32 / parts_);
  }

 private:
  __device__ void flush(int key_block) {
    store_block(p_, kKeys, head_, (next_ - 1) / p_.block_edge, first_key_, key_block, sum_, largest_);
    sum_ = 0.0f;
    largest_ = 0;
    next_ = 0;
  }

  const AttentionParams& p_;
  int head_, first_key_, parts_, warps_, next_ = 0, largest_ = 0;
  float sum_ = 0.0f;
};

template <class T, int kDim>
struct HopperColumnKernel {
  using Tile = ColumnTile<kQueries>;
  struct Shared {
    T k[kKeys * kDim], q[kStages][kQueries * kDim];
    float lse_log2[kStages][kQueries];
    Cells cells[kStages];
    /// A stage is full, the computing warps have left it, and everything in it was used.
    std::uint64_t k_full, full[kStages], left[kStages], free[kStages];
  };
  static constexpr std::size_t kSharedBytes = sizeof(Shared) + 1024;  // room to align

  __device__ static void run(const HopperParams& hopper) {
    extern __shared__ char shared_memory[];
    const AttentionParams& p = hopper.attention;
    Shared& shared =
        *reinterpret_cast<Shared*>(shared_memory + ((1024 - (shared_address(shared_memory) & 1023)) & 1023));
    const HeadTile place = hopper.order.of_block();
    const int head = place.head, first_key = place.tile * kKeys;  // the longest columns first
    const int2 visible = Tile::visible_queries(p, first_key, min(first_key + kKeys, p.num_keys) - 1);
    const int begin = visible.x / kQueries, end = visible.y > visible.x ? (visible.y + kQueries - 1) / kQueries : begin;
    if (threadIdx.x == 0) {
      init_barrier(&shared.k_full, 1);
      for (int stage = 0; stage < kStages; ++stage) {
        init_barrier(&shared.full[stage], 1 + 32);
        init_barrier(&shared.left[stage], kWarps);
        init_barrier(&shared.free[stage], 1);
      }
      publish_barriers();
    }
    __syncthreads();
    if (threadIdx.x >= kComputing) {
      give_registers<32>();
      const int warp = (threadIdx.x - kComputing) / 32;
      if (warp == 0 && threadIdx.x % 32 == 0) copy_operands(hopper, shared, head, first_key, begin, end);
      if (warp == 1) fetch_lse(p, shared, head, begin, end);
      if (warp == 2) collect(p, shared, head, first_key, begin, end);
    } else {
      take_registers<112>();
      compute(p, shared, head, first_key, begin, end);
    }
  }

  __device__ __forceinline__ static void wait_free(Shared& shared, int count) {
    wait_barrier(&shared.free[count % kStages], (count / kStages & 1) ^ 1);
  }

  __device__ static void copy_operands(const HopperParams& hopper, Shared& shared, int head, int first_key, int begin,
                                       int end) {
    const AttentionParams& p = hopper.attention;
    if (begin == end) return;
    copy_tile<T, kKeys, kDim>(shared.k, hopper.k, first_key, p.kv_head(head), &shared.k_full);
    for (int tile = begin; tile < end; ++tile) {
      const int count = tile - begin, stage = count % kStages;
      wait_free(shared, count);
      copy_tile<T, kQueries, kDim>(shared.q[stage], hopper.q, tile * kQueries - p.query_start, head,
                                   &shared.full[stage]);
    }
  }

  /// lse in base 2; 0 for rows outside the call.
  __device__ static void fetch_lse(const AttentionParams& p, Shared& shared, int head, int begin, int end) {
    const int lane = threadIdx.x % 32;
    const float* lse = p.to.lse_hi + head * p.to.row_stride;
    for (int tile = begin; tile < end; ++tile) {
      const int count = tile - begin, stage = count % kStages;
      float natural[kQueries / 32];
#pragma unroll
      for (int k = 0; k < kQueries / 32; ++k) {
        const int row = tile * kQueries - p.query_start + lane + 32 * k;
        natural[k] = row >= 0 && row < p.num_queries ? lse[row] : 0.0f;
      }
      wait_free(shared, count);
#pragma unroll
      for (int k = 0; k < kQueries / 32; ++k) shared.lse_log2[stage][lane + 32 * k] = natural[k] * kLog2e;
      arrive(&shared.full[stage]);
    }
  }

  __device__ static void collect(const AttentionParams& p, Shared& shared, int head, int first_key, int begin,
                                 int end) {
    BlockCollector blocks(p, head, first_key);
    for (int tile = begin; tile < end; ++tile) {
      const int count = tile - begin, stage = count % kStages;
      wait_barrier(&shared.left[stage], count / kStages & 1);
      if (p.block_edge > 0) blocks.add(tile, shared.cells[stage]);
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.free[stage]);
    }
    if (p.block_edge > 0) blocks.finish();
  }

  __device__ static void compute(const AttentionParams& p, Shared& shared, int head, int first_key, int begin,
                                 int end) {
    const int warpgroup = warpgroup_of_thread(), warp_key = first_key + 16 * (threadIdx.x / 32);
    const int my_turn = 1 + warpgroup, next_turn = 1 + (warpgroup + 1) % kWarpgroups;
    float column[2] = {0, 0}, tail[2] = {0, 0};
    if (begin < end) {
      if (warpgroup == kWarpgroups - 1) give_turn(next_turn, 256);
      wait_barrier(&shared.k_full, 0);
    }
    for (int tile = begin; tile < end; ++tile) {
      const int count = tile - begin, stage = count % kStages, first_query = tile * kQueries;
      float sums[kParts] = {};
      int maxima[kParts] = {};
      wait_barrier(&shared.full[stage], count / kStages & 1);
      wait_turn(my_turn, 256);
      const bool some_visible = !p.causal || first_key + 64 * warpgroup < first_query + kQueries;
      float w[kQueries / 8][4];
      if (some_visible) {
        fence_products();
        issue_scores<T, kDim, kKeys>(w, shared.k, warpgroup, shared.q[stage]);
        commit_products();
        wait_products<0>();
        pin(w);
      }
      if (warpgroup + 1 < kWarpgroups || tile + 1 < end) give_turn(next_turn, 256);
      if (some_visible) {
        Tile::weigh(p, first_query, warp_key, shared.lse_log2[stage], w);
        Tile::add_columns(p, first_query, w, column, tail, sums, maxima);
      }
      if (p.block_edge > 0) leave(p.block_edge, shared.cells[stage], sums, maxima);
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.left[stage]);
    }
    Tile::write_columns(p, head, warp_key, column, tail);
  }
};

template <class T, int kDim>
__global__ void __launch_bounds__(kThreads, 1) attention_columns_hopper_kernel(const __grid_constant__ HopperParams p) {
  HopperColumnKernel<T, kDim>::run(p);
}

template <class T, int kDim>
void launch(const AttentionParams& p, cudaStream_t stream) {
  launch_hopper("attention_columns_hopper", attention_columns_hopper_kernel<T, kDim>,
                hopper_params(p, type_of<T>(), kQueries, kKeys),
                head_order(p.num_keys, kKeys, p.num_heads, 2 * std::int64_t{p.num_queries} * kDim), kThreads,
                HopperColumnKernel<T, kDim>::kSharedBytes, stream);
}

}  // namespace

void launch_columns_hopper(const AttentionParams& p, DType dtype, cudaStream_t stream) {
  if (p.head_dim == 128)
    dtype == DType::bf16 ? launch<Bf16, 128>(p, stream) : launch<F16, 128>(p, stream);
  else
    dtype == DType::bf16 ? launch<Bf16, 64>(p, stream) : launch<F16, 64>(p, stream);
}

}  // namespace headlight::cuda
