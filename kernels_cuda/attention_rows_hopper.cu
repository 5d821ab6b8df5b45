// First pass on wgmma, head sizes 64 and 128, after "FlashAttention-3: Fast and Accurate Attention with Asynchrony and
// Low-precision". A block owns 128 queries of one head: one warpgroup copies tiles of 128 keys and values, two compute
// 64 queries each. The scores of the next tile are multiplied while the weights of this one meet the values.

#include "kernels_cuda/attention_launch.cuh"
#include "kernels_cuda/attention_row_statistics.cuh"
#include "kernels_cuda/attention_tile_hopper.cuh"

namespace headlight::cuda {
namespace {

template <class T, int kDim, bool kStatistics>
struct HopperRowKernel {
  static constexpr int kQueries = 128, kKeys = 128, kThreads = 384, kStages = 2;
  static constexpr int kItems = 2 * kStages;  // buffers: keys and values of every stage in turns
  static constexpr int kLag = 2;              // items whose copies are under way while the next is started
  struct Shared {
    T q[kQueries * kDim], items[kItems][kKeys * kDim];
    std::uint64_t full[kItems], empty[kItems];
    float group_sums[kStatistics ? kMaxGroups * kQueries : 1];
  };
  static constexpr std::size_t kSharedBytes = sizeof(Shared) + 1024;  // room to align
  using Statistics = RowStatistics<kKeys, kStatistics>;

  __device__ static void run(const AttentionParams& p) {
    extern __shared__ char shared_memory[];
    Shared& shared =
        *reinterpret_cast<Shared*>(shared_memory + ((1024 - (shared_address(shared_memory) & 1023)) & 1023));
    const int head = blockIdx.y, first = (gridDim.x - 1 - blockIdx.x) * kQueries;  // the longest rows first
    const KeySpan keys =
        visible_keys(p, p.query_start + first, p.query_start + min(first + kQueries, p.num_queries) - 1);
    const int begin = keys.begin / kKeys, end = max(begin, (keys.end + kKeys - 1) / kKeys);
    if (threadIdx.x < kItems) {
      init_barrier(&shared.full[threadIdx.x], 128);
      init_barrier(&shared.empty[threadIdx.x], 8);
    }
    if (threadIdx.x < 256) {
      load_swizzled<T, kQueries, kDim, 256>(shared.q, static_cast<const T*>(p.q) + head * p.head_dim, p.q_stride, first,
                                            p.num_queries, threadIdx.x);
      commit_copies();
      wait_copies<0>();
      publish_to_products();
    }
    if constexpr (kStatistics)
      for (int c = threadIdx.x; c < kMaxGroups * kQueries; c += kThreads) shared.group_sums[c] = 0.0f;
    __syncthreads();
    if (threadIdx.x >= 256) {
      give_registers<56>();
      produce(p, shared, p.kv_head(head), begin, end);
    } else {
      take_registers<224>();
      consume(p, shared, head, first, begin, end);
    }
  }

  /// Item 2 t is the keys, 2 t + 1 the values of the t-th tile.
  __device__ static void produce(const AttentionParams& p, Shared& shared, int kv_head, int begin, int end) {
    const T* const k = static_cast<const T*>(p.k) + kv_head * p.kv_stride;
    const T* const v = static_cast<const T*>(p.v) + kv_head * p.kv_stride;
    const int items = 2 * (end - begin), thread = threadIdx.x - 256;
    for (int item = 0; item < items + kLag; ++item) {
      if (item < items) {
        wait_barrier(&shared.empty[item % kItems], (item / kItems & 1) ^ 1);
        load_swizzled<T, kKeys, kDim, 128>(shared.items[item % kItems], (item & 1) != 0 ? v : k, p.kv_row_stride,
                                           (begin + item / 2) * kKeys, p.num_keys, thread);
      }
      commit_copies();
      if (item < kLag) continue;
      wait_copies<kLag>();
      publish_to_products();
      arrive(&shared.full[(item - kLag) % kItems]);
    }
  }

  __device__ static void consume(const AttentionParams& p, Shared& shared, int head, int first, int begin, int end) {
    const int warpgroup = threadIdx.x / 128, lane = threadIdx.x % 32, warp_row = first + 16 * (threadIdx.x / 32);
    const int row = warp_row + lane / 4;
    float* sums = shared.group_sums + (kStatistics ? row - first : 0);
    const auto wait_full = [&](int item) { wait_barrier(&shared.full[item % kItems], item / kItems & 1); };
    const auto release = [&](int item) {
      if (lane == 0) arrive(&shared.empty[item % kItems]);
    };
    Statistics statistics;
    float out[kDim / 8][4] = {}, s[kKeys / 8][4], alpha[2];
    std::uint32_t w[kKeys / 16][4];
    const auto add_tile = [&](int tile) {
      const TilePlace place{tile * kKeys, p.query_start + row, p.query_start + warp_row, p.query_start + warp_row + 15};
      return statistics.add_tile(p, place, s, alpha, sums, kQueries);
    };
    if (begin < end) {
      wait_full(0);
      fence_products();
      issue_scores<T, kDim, kQueries>(s, shared.q, warpgroup, shared.items[0]);
      commit_products();
      wait_products<0>();
      pin(s);
      release(0);
      add_tile(begin);
      pack_weights(s, w);
      int item = 0;
      for (int tile = begin + 1; tile < end; ++tile, item += 2) {
        wait_full(item + 2);
        wait_full(item + 1);
        pin(out);
        fence_products();
        issue_scores<T, kDim, kQueries>(s, shared.q, warpgroup, shared.items[(item + 2) % kItems]);
        commit_products();
        issue_values(out, w, shared.items[(item + 1) % kItems]);
        commit_products();
        wait_products<1>();
        pin(s);
        release(item + 2);
        const bool moved = add_tile(tile);
        wait_products<0>();
        pin(out);
        release(item + 1);
        if (moved) {
#pragma unroll
          for (int n = 0; n < kDim / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) out[n][e] *= alpha[e / 2];
        }
        pack_weights(s, w);
      }
      wait_full(item + 1);
      pin(out);
      fence_products();
      issue_values(out, w, shared.items[(item + 1) % kItems]);
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
    const std::uint32_t base = shared_address(v);
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const std::uint64_t values = operand(base + k * 16 * 128, kKeys * 128);
      if constexpr (kDim == 128)
        multiply_values_128<T>(out, w[k], values, true);
      else
        multiply_values_64<T>(out, w[k], values, true);
    }
  }
};

template <class T, int kDim, bool kStatistics>
__global__ void __launch_bounds__(384, 1) attention_rows_hopper_kernel(const AttentionParams p) {
  HopperRowKernel<T, kDim, kStatistics>::run(p);
}

template <class T, int kDim, bool kStatistics>
void launch(const AttentionParams& p, cudaStream_t stream) {
  using Kernel = HopperRowKernel<T, kDim, kStatistics>;
  launch_per_head("attention_rows_hopper", attention_rows_hopper_kernel<T, kDim, kStatistics>, p, p.num_queries,
                  Kernel::kQueries, Kernel::kThreads, Kernel::kSharedBytes, stream);
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
