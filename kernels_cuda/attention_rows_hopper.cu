// First pass on wgmma, head sizes 64 and 128, after "FlashAttention-3: Fast and Accurate Attention with Asynchrony and
// Low-precision". A block owns 128 queries of one head: one thread starts the copies of tiles of 128 keys and values,
// two warpgroups compute 64 queries each. Within a warpgroup the scores of the next tile are multiplied while the
// weights of this one meet the values; the warpgroups take turns at the products, so that the exponentials and sums of
// one run under the products of the other.

#include "kernels_cuda/attention_launch_hopper.cuh"
#include "kernels_cuda/attention_row_statistics.cuh"
#include "kernels_cuda/attention_tile_hopper.cuh"

namespace headlight::cuda {
namespace {

template <class T, int kDim, bool kStatistics>
struct HopperRowKernel {
  static constexpr int kQueries = 128, kKeys = 128, kThreads = 384, kStages = 2;
  struct Stages {
    T tile[kStages][kKeys * kDim];
  };
  struct Barriers {
    std::uint64_t full[kStages], empty[kStages];
  };
  struct Shared {
    T q[kQueries * kDim];
    Stages k, v;
    Barriers k_barriers, v_barriers;
    std::uint64_t q_full;
    float group_sums[kStatistics ? kMaxGroups * kQueries : 1];
  };
  static constexpr std::size_t kSharedBytes = sizeof(Shared) + 1024;  // room to align
  using Statistics = RowStatistics<kKeys, kStatistics>;

  __device__ static void run(const HopperParams& hopper) {
    extern __shared__ char shared_memory[];
    const AttentionParams& p = hopper.attention;
    Shared& shared =
        *reinterpret_cast<Shared*>(shared_memory + ((1024 - (shared_address(shared_memory) & 1023)) & 1023));
    const HeadTile place = hopper.order.of_block();
    const int head = place.head, first = (hopper.order.tiles - 1 - place.tile) * kQueries;  // the longest rows first
    const TileSpan keys =
        visible_keys(p, p.query_start + first, p.query_start + min(first + kQueries, p.num_queries) - 1);
    const int begin = keys.begin / kKeys, end = max(begin, (keys.end + kKeys - 1) / kKeys);
    if (threadIdx.x == 0) {
      init_barrier(&shared.q_full, 1);
      for (Barriers* barriers : {&shared.k_barriers, &shared.v_barriers})
        for (int stage = 0; stage < kStages; ++stage) {
          init_barrier(&barriers->full[stage], 1);
          init_barrier(&barriers->empty[stage], 8);
        }
      publish_barriers();
    }
    if constexpr (kStatistics)
      for (int c = threadIdx.x; c < kMaxGroups * kQueries; c += kThreads) shared.group_sums[c] = 0.0f;
    __syncthreads();
    if (threadIdx.x >= 256) {
      give_registers<24>();
      if (threadIdx.x == 256) produce(hopper, shared, head, first, begin, end);
    } else {
      take_registers<240>();
      consume(p, shared, head, first, begin, end);
    }
  }

  // Tile t of the keys or values is the (t - begin)-th that passes through its stages.
  __device__ __forceinline__ static void wait_full(Barriers& barriers, int count) {
    wait_barrier(&barriers.full[count % kStages], count / kStages & 1);
  }
  __device__ __forceinline__ static void wait_empty(Barriers& barriers, int count) {
    wait_barrier(&barriers.empty[count % kStages], (count / kStages & 1) ^ 1);
  }

  /// In the order in which they are wanted: keys run ahead of values by a tile.
  __device__ static void produce(const HopperParams& hopper, Shared& shared, int head, int first, int begin, int end) {
    const int kv_head = hopper.attention.kv_head(head), tiles = end - begin;
    const auto load = [&](Stages& stages, Barriers& barriers, const CUtensorMap& from, int count) {
      wait_empty(barriers, count);
      copy_tile<T, kKeys, kDim>(stages.tile[count % kStages], from, (begin + count) * kKeys, kv_head,
                                &barriers.full[count % kStages]);
    };
    if (tiles == 0) return;
    copy_tile<T, kQueries, kDim>(shared.q, hopper.q, first, head, &shared.q_full);
    for (int count = 0; count <= tiles; ++count) {
      if (count < tiles) load(shared.k, shared.k_barriers, hopper.k, count);
      if (count > 0) load(shared.v, shared.v_barriers, hopper.v, count - 1);
    }
  }

  __device__ static void consume(const AttentionParams& p, Shared& shared, int head, int first, int begin, int end) {
    constexpr int kComputing = 256;  // threads
    const int warpgroup = warpgroup_of_thread(), lane = threadIdx.x % 32, warp_row = first + 16 * (threadIdx.x / 32);
    const int row = warp_row + lane / 4, tiles = end - begin;
    const int my_turn = 1 + warpgroup, other_turn = 2 - warpgroup;
    float* sums = shared.group_sums + (kStatistics ? row - first : 0);
    const auto release = [&](Barriers& barriers, int count) {
      if (lane == 0) arrive(&barriers.empty[count % kStages]);
    };
    Statistics statistics;
    float out[kDim / 8][4] = {}, s[kKeys / 8][4], alpha[2];
    std::uint32_t w[kKeys / 16][4];
    const auto add_tile = [&](int count) {
      const TilePlace place{(begin + count) * kKeys, p.query_start + row, p.query_start + warp_row,
                            p.query_start + warp_row + 15};
      return statistics.add_tile(p, place, s, alpha, sums, kQueries);
    };
    if (tiles > 0) {
      if (warpgroup == 1 && tiles > 1) give_turn(other_turn, kComputing);
      wait_barrier(&shared.q_full, 0);
      wait_full(shared.k_barriers, 0);
      fence_products();
      issue_scores<T, kDim, kQueries>(s, shared.q, warpgroup, shared.k.tile[0]);
      commit_products();
      wait_products<0>();
      pin(s);
      release(shared.k_barriers, 0);
      add_tile(0);
      pack_weights(s, w);
      for (int count = 1; count < tiles; ++count) {
        wait_full(shared.k_barriers, count);
        wait_full(shared.v_barriers, count - 1);
        wait_turn(my_turn, kComputing);
        pin(out);
        fence_products();
        issue_scores<T, kDim, kQueries>(s, shared.q, warpgroup, shared.k.tile[count % kStages]);
        commit_products();
        issue_values(out, w, shared.v.tile[(count - 1) % kStages]);
        commit_products();
        wait_products<1>();
        pin(s);
        if (warpgroup == 0 || count + 1 < tiles) give_turn(other_turn, kComputing);
        release(shared.k_barriers, count);
        const bool moved = add_tile(count);
        wait_products<0>();
        pin(out);
        release(shared.v_barriers, count - 1);
        if (moved) {
#pragma unroll
          for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) out[n][e] *= alpha[e / 2];
        }
        pack_weights(s, w);
      }
      wait_full(shared.v_barriers, tiles - 1);
      pin(out);
      fence_products();
      issue_values(out, w, shared.v.tile[(tiles - 1) % kStages]);
      commit_products();
      wait_products<0>();
      pin(out);
    }
    float inverse[2];
    statistics.finish(p, head, inverse);
    statistics.write(p, head, row, lane % 4, inverse, sums, kQueries);
    write_output<T, kDim>(p, head, row, lane % 4, out, inverse);
  }

  __device__ __forceinline__ static void pack_weights(const float (&s)[kKeys / 8][4],
                                                      std::uint32_t (&w)[kKeys / 16][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      w[k][0] = pack<T>(s[2 * k][0], s[2 * k][1]);
      w[k][1] = pack<T>(s[2 * k][2], s[2 * k][3]);
      w[k][2] = pack<T>(s[2 * k + 1][0], s[2 * k + 1][1]);
      w[k][3] = pack<T>(s[2 * k + 1][2], s[2 * k + 1][3]);
    }
  }

  /// out += w v. Issued, not waited for.
  __device__ __forceinline__ static void issue_values(float (&out)[kDim / 8][4],
                                                      const std::uint32_t (&w)[kKeys / 16][4], const T* v) {
    const std::uint64_t all = operand(shared_address(v), kKeys * 128);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const std::uint64_t values = ahead(all, k * 16 * 128);
      if constexpr (kDim == 128)
        multiply_values_128<T>(out, w[k], values, true);
      else
        multiply_values_64<T>(out, w[k], values, true);
    }
  }
};

template <class T, int kDim, bool kStatistics>
__global__ void __launch_bounds__(384, 1) attention_rows_hopper_kernel(const __grid_constant__ HopperParams p) {
  HopperRowKernel<T, kDim, kStatistics>::run(p);
}

template <class T, int kDim, bool kStatistics>
void launch(const AttentionParams& p, cudaStream_t stream) {
  using Kernel = HopperRowKernel<T, kDim, kStatistics>;
  const std::int64_t shared_bytes = 4 * std::int64_t{p.num_keys} * kDim * p.num_kv_heads / p.num_heads;  // k and v
  launch_hopper("attention_rows_hopper", attention_rows_hopper_kernel<T, kDim, kStatistics>,
                hopper_params(p, type_of<T>(), Kernel::kQueries, Kernel::kKeys),
                head_order(p.num_queries, Kernel::kQueries, p.num_heads, shared_bytes), Kernel::kThreads,
                Kernel::kSharedBytes, stream);
}

template <class T, int kDim>
void launch_level(const AttentionParams& p, bool statistics, cudaStream_t stream) {
  statistics ? launch<T, kDim, true>(p, stream) : launch<T, kDim, false>(p, stream);
}

}  // namespace

void launch_rows_hopper(const AttentionParams& p, DType dtype, bool statistics, cudaStream_t stream) {
  if (p.head_dim == 128)
    dtype == DType::bf16 ? launch_level<Bf16, 128>(p, statistics, stream)
                         : launch_level<F16, 128>(p, statistics, stream);
  else
    dtype == DType::bf16 ? launch_level<Bf16, 64>(p, statistics, stream) : launch_level<F16, 64>(p, statistics, stream);
}

}  // namespace headlight::cuda
