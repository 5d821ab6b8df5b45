// What the second pass adds up from a tile of weights with keys along the rows of the accumulators: column sums, and
// sums and maxima of blocks. Every result is owned by one block of threads and summed in a fixed order.

#pragma once

#include "kernels_cuda/attention_params.h"
#include "kernels_cuda/block_reduce.cuh"
#include "kernels_cuda/ptx.cuh"

namespace headlight::cuda {

/// Weights are not negative, so their bits are ordered as they are, with NaN above all: the maximum costs half as many
/// instructions on integers.
__device__ __forceinline__ int bits_of(float weight) {
  return __float_as_int(weight);
}

struct MaxBits {
  __device__ int operator()(int a, int b) const { return max(a, b); }
};

/// Adds to what one thread of one launch adds to, without waiting for what is there.
__device__ __forceinline__ void add_block(float* sum, float* largest, float more, int largest_bits) {
  atomicAdd(sum, more);
  atomicMax(reinterpret_cast<int*>(largest), largest_bits);
}

/// Adds a block to the map. Of a block wider than a tile of keys this is the part in one tile, which waits for the
/// others.
/// @param first_key, tile_keys  the tile; @param key_block  number of the block within it
__device__ __forceinline__ void store_block(const AttentionParams& p, int tile_keys, int head, int block_row,
                                            int first_key, int key_block, float sum, int largest) {
  const std::int64_t row = static_cast<std::int64_t>(head) * p.to.block_count + block_row;
  if (block_row >= p.to.block_count) {
    // A tile reaches beyond the last block: nothing is visible there.
  } else if (p.block_edge > tile_keys) {
    const std::int64_t tiles = (p.num_keys + kColumnTileKeys - 1) / kColumnTileKeys;
    p.partial_sum[row * tiles + first_key / kColumnTileKeys] = sum;
    p.partial_max[row * tiles + first_key / kColumnTileKeys] = __int_as_float(largest);
  } else if (const std::int64_t column = first_key / p.block_edge + key_block; column < p.to.block_count) {
    const std::int64_t at = row * p.to.block_count + column;
    add_block(p.to.block_sum + at, p.to.block_max + at, sum, largest);
  }
}

/// Reduces kCount values (2, 4 or 8) over the warp at once: afterwards the lanes of each part of 32 / kCount hold one
/// of them. @return value number lane / (32 / kCount)
template <int kCount, class Value, class Op>
__device__ __forceinline__ Value reduce_parts(const Value (&x)[kCount], const Op& op) {
  const int lane = threadIdx.x & 31;
  Value y[kCount];
#pragma unroll
  for (int k = 0; k < kCount; ++k) y[k] = x[k];
#pragma unroll
  for (int step = 16, count = kCount / 2; step > 0; step /= 2, count /= 2) {
    if (count == 0) {
      y[0] = op(y[0], __shfl_xor_sync(0xffffffffu, y[0], step));
      continue;
    }
    const bool high = (lane & step) != 0;  // keeps the second half and sends the first
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const Value kept = high ? y[k + count] : y[k], sent = high ? y[k] : y[k + count];
      y[k] = op(kept, __shfl_xor_sync(0xffffffffu, sent, step));
    }
  }
  return y[0];
}

/// A tile of the second pass: 16 keys of this warp (rows of the accumulators) and kQueries queries.
template <int kQueries>
struct ColumnTile {
  /// Absolute positions [begin, end) of queries of this call that see some of the keys.
  __device__ static int2 visible_queries(const AttentionParams& p, int first_key, int last_key) {
    int begin = max(p.query_start, p.first_key), end = p.query_start + p.num_queries;
    if (p.causal) begin = max(begin, first_key);
    if (p.window > 0) end = min(end, last_key + p.window);
    if (!p.causal && p.window > 0) begin = max(begin, first_key - p.window + 1);
    if (last_key < p.first_key) end = begin;
    return {begin, end};
  }

  /// Starts the copy of lse of rows [row, row + kQueries) of the call by the first threads; 0 outside.
  __device__ __forceinline__ static void load_lse(const AttentionParams& p, int head, int row, float* lse) {
    if (threadIdx.x >= kQueries) return;
    const int i = row + static_cast<int>(threadIdx.x);
    const bool valid = i >= 0 && i < p.num_queries;
    copy_word_async(shared_address(lse + threadIdx.x), p.to.lse_hi + head * p.to.row_stride + (valid ? i : 0), valid);
  }

  /// What this thread's copy brought becomes base 2, once the copy is done.
  __device__ __forceinline__ static void to_base_2(float* lse) {
    if (threadIdx.x < kQueries) lse[threadIdx.x] *= kLog2e;
  }

  /// Scores become weights.
  __device__ __forceinline__ static void weigh(const AttentionParams& p, int first_query, int warp_key,
                                               const float* lse_log2, float (&w)[kQueries / 8][4]) {
    const int lane = threadIdx.x & 31;
    if (p.cap_log2 != 0.0f) {
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) w[n][e] = p.cap_log2 * tanhf(w[n][e] * p.cap_inner);
    }
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
      const float2 base = *reinterpret_cast<const float2*>(lse_log2 + 8 * n + 2 * (lane & 3));
#pragma unroll
      for (int e = 0; e < 4; ++e) w[n][e] = exp2_approx(fmaf(w[n][e], p.unit_log2, -((e & 1) != 0 ? base.y : base.x)));
    }
    if (!is_whole(p, first_query, warp_key)) mask(p, first_query, warp_key, w);
  }

  /// Every key of the warp is visible to every query of the tile.
  __device__ __forceinline__ static bool is_whole(const AttentionParams& p, int first_query, int warp_key) {
    const int last_query = first_query + kQueries - 1, last_key = warp_key + 15;
    if (last_key >= p.num_keys || warp_key < p.first_key || first_query < max(p.query_start, p.first_key) ||
        last_query >= p.query_start + p.num_queries || (p.causal && last_key > first_query))
      return false;
    return p.window == 0 || (warp_key > last_query - p.window && (p.causal || last_key < first_query + p.window));
  }

  __device__ __forceinline__ static void mask(const AttentionParams& p, int first_query, int warp_key,
                                              float (&w)[kQueries / 8][4]) {
    const int lane = threadIdx.x & 31, query = first_query + 2 * (lane & 3);
    const TileSpan queries[2] = {p.queries_of(warp_key + lane / 4), p.queries_of(warp_key + lane / 4 + 8)};
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (!queries[e / 2].contains(query, 8 * n + (e & 1))) w[n][e] = 0.0f;
  }

  static constexpr int kParts = kQueries / 16;

  /// Adds to the columns, and sums up and takes the largest of each part of 16 queries.
  __device__ __forceinline__ static void add_columns(const AttentionParams& p, int first_query,
                                                     const float (&w)[kQueries / 8][4], float (&column)[2],
                                                     float (&tail)[2], float (&sum)[kParts], int (&largest)[kParts]) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const float(&a)[4] = w[2 * part], (&b)[4] = w[2 * part + 1];
      const float of_row[2] = {(a[0] + a[1]) + (b[0] + b[1]), (a[2] + a[3]) + (b[2] + b[3])};
      column[0] += of_row[0];
      column[1] += of_row[1];
      sum[part] = of_row[0] + of_row[1];
      largest[part] =
          __vimax3_s32(__vimax3_s32(bits_of(a[0]), bits_of(a[1]), bits_of(a[2])),
                       __vimax3_s32(bits_of(a[3]), bits_of(b[0]), bits_of(b[1])), max(bits_of(b[2]), bits_of(b[3])));
    }
    if (first_query + kQueries > p.tail_begin && first_query < p.tail_end) add_tail(p, first_query, w, tail);
  }

  __device__ __forceinline__ static void add_tail(const AttentionParams& p, int first_query,
                                                  const float (&w)[kQueries / 8][4], float (&tail)[2]) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = first_query + 8 * n + 2 * (lane & 3) + (e & 1);
        if (i >= p.tail_begin && i < p.tail_end) tail[e / 2] += w[n][e];
      }
  }

  /// Adds the sums of the quads to the columns.
  __device__ __forceinline__ static void write_columns(const AttentionParams& p, int head, int warp_key,
                                                       const float (&column)[2], const float (&tail)[2]) {
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float all = quad_sum(column[r]), late = quad_sum(tail[r]);
      const int key = warp_key + lane / 4 + 8 * r;
      if (lane % 4 != 0 || key >= p.num_keys) continue;
      p.to.received_hj[head * p.to.col_stride + key] += all;
      p.to.received_tail_hj[head * p.to.col_stride + key] += late;
    }
  }
};

/// Block sums of one tile of kColumnTileKeys keys and one head, for blocks of at least 16 x 16. Each warp leaves the
/// sums of its 16 keys in shared memory, and after the next barrier one thread per block adds up those of the warps.
template <int kQueries>
class BlockSums {
 public:
  static constexpr int kWarps = kColumnTileKeys / 16, kParts = kQueries / 16;
  struct Shared {
    float sum[2][kWarps][kParts];
    int largest[2][kWarps][kParts];
  };

  __device__ BlockSums(const AttentionParams& p, int head, int first_key, Shared& shared)
      : p_(p), head_(head), first_key_(first_key), shared_(shared) {
    warps_ = min(p.block_edge, kColumnTileKeys) / 16;
    parts_ = max(min(p.block_edge, kQueries) / 16, 1);
    key_block_ = threadIdx.x / (kParts / parts_);
    query_block_ = threadIdx.x % (kParts / parts_);
    owns_ = p.block_edge >= 16 && key_block_ < kWarps / warps_;
  }

  /// Sums and maxima of this warp's 16 keys with each part of 16 queries.
  __device__ __forceinline__ void leave(int tile, const float (&sums)[kParts], const int (&maxima)[kParts]) {
    float sum = reduce_parts(sums, Add{});
    int largest = reduce_parts(maxima, MaxBits{});
    constexpr int kLanes = 32 / kParts;  // that hold the same part
    for (int step = kLanes; step < kLanes * parts_; step *= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, step);
      largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    }
    const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    if (lane % (kLanes * parts_) != 0) return;
    shared_.sum[tile & 1][warp][lane / (kLanes * parts_)] = sum;
    shared_.largest[tile & 1][warp][lane / (kLanes * parts_)] = largest;
  }

  /// After a barrier: takes what the warps left for a tile that begins at absolute position `tile * kQueries`.
  __device__ __forceinline__ void collect(int tile) {
    if (!owns_) return;
    for (int warp = key_block_ * warps_; warp < (key_block_ + 1) * warps_; ++warp) {
      sum_ += shared_.sum[tile & 1][warp][query_block_];
      largest_ = max(largest_, shared_.largest[tile & 1][warp][query_block_]);
    }
    const int next = tile * kQueries + (query_block_ + 1) * parts_ * 16;
    last_ = next - 1;
    if (next % p_.block_edge == 0) flush();
  }

  /// Adds what is left of an unfinished block.
  __device__ __forceinline__ void finish() {
    if (owns_ && last_ >= 0) flush();
  }

 private:
  __device__ __forceinline__ void flush() {
    store_block(p_, kColumnTileKeys, head_, last_ / p_.block_edge, first_key_, key_block_, sum_, largest_);
    sum_ = 0.0f;
    largest_ = 0;
    last_ = -1;
  }

  const AttentionParams& p_;
  int head_, first_key_, warps_, parts_, key_block_, query_block_, last_ = -1, largest_ = 0;
  bool owns_;
  float sum_ = 0.0f;
  Shared& shared_;
};

/// Blocks smaller than 16 x 16: short prompts. Each warp looks at its own weights in shared memory.
template <int kQueries>
struct SmallBlocks {
  static constexpr int kStride = kQueries + 1;
  static constexpr std::size_t kBytesPerWarp = 16 * kStride * sizeof(float);

  __device__ static void add(const AttentionParams& p, int head, int first_key, int first_query,
                             const float (&w)[kQueries / 8][4], float* staging) {
    const int lane = threadIdx.x & 31;
    for (int n = 0; n < kQueries / 8; ++n)
      for (int e = 0; e < 4; ++e)
        staging[(lane / 4 + 8 * (e / 2)) * kStride + 8 * n + 2 * (lane & 3) + (e & 1)] = w[n][e];
    __syncwarp();
    const int edge = p.block_edge, columns = kQueries / edge, blocks = 16 / edge * columns;
    for (int b = lane; b < blocks; b += 32) {
      const int key = b / columns * edge, query = b % columns * edge;
      float sum = 0.0f;
      int largest = 0;
      for (int j = key; j < key + edge; ++j)
        for (int i = query; i < query + edge; ++i) {
          sum += staging[j * kStride + i];
          largest = max(largest, bits_of(staging[j * kStride + i]));
        }
      const std::int64_t row = (first_query + query) / edge, column = (first_key + key) / edge;
      if (row >= p.to.block_count || column >= p.to.block_count) continue;
      const std::int64_t at = (head * p.to.block_count + row) * p.to.block_count + column;
      add_block(p.to.block_sum + at, p.to.block_max + at, sum, largest);
    }
    __syncwarp();
  }
};

}  // namespace headlight::cuda
