#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels_cuda/cuda_kernels.h"

// Private to the attention kernels: what a launch hands to its blocks. Plain data.
namespace headlight::cuda {

inline constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
inline constexpr int kMaxGroups = 16;

/// [begin, end) of keys or queries.
struct TileSpan {
  int begin, end;
  /// @param x, offset  whether x + offset lies inside; cheap for many constant offsets of one x
  __host__ __device__ bool contains(int x, int offset) const {
    return static_cast<unsigned>(x - begin + offset) < static_cast<unsigned>(end > begin ? end - begin : 0);
  }
};

struct AttentionParams {
  const void *q, *k, *v;
  std::int64_t q_stride, kv_stride, kv_row_stride;
  int num_queries, num_keys, num_heads, num_kv_heads, head_dim;
  int query_start, first_key, window;  // window 0 = none
  bool causal;
  float unit_log2;            // base-2 exponents per unit of a product q.k: scale * log2 e, or 1 after the soft cap
  float cap_log2, cap_inner;  // soft cap: q.k becomes cap log2 e * tanh(q.k * cap_inner); cap_log2 = 0: off
  const float* null_logit;
  void* out;  // rows
  std::int64_t out_stride;
  // statistics; lse null = plain
  kernels::AttentionStatistics to;
  int sink_size, local_window, num_groups, tail_begin, tail_end;
  const std::uint8_t* group_of_key;
  // columns
  int block_edge;
  float *partial_sum, *partial_max;  // [H][block rows][key tiles] where a block is wider than a key tile

  __host__ __device__ int kv_head(int head) const {
    return static_cast<int>(static_cast<std::int64_t>(head) * num_kv_heads / num_heads);
  }
  /// Keys that the query at absolute position i sees: [begin, end), empty where end <= begin.
  __host__ __device__ TileSpan keys_of(int i) const {
    if (i < first_key) return {0, 0};
    const int begin = window > 0 && i - window + 1 > first_key ? i - window + 1 : first_key;
    const int end = causal ? i + 1 : window > 0 ? i + window : num_keys;
    return {begin, end < num_keys ? end : num_keys};
  }
  /// Absolute positions of the queries of this call that see key j.
  __host__ __device__ TileSpan queries_of(int j) const {
    if (j < first_key || j >= num_keys) return {0, 0};
    int begin = query_start > first_key ? query_start : first_key, end = query_start + num_queries;
    const int lowest = causal ? j : window > 0 ? j - window + 1 : begin;
    if (lowest > begin) begin = lowest;
    if (window > 0 && j + window < end) end = j + window;
    return {begin, end};
  }
  /// Whether key j is visible to the query at absolute position i; j < num_keys is the caller's to check.
  __host__ __device__ bool visible(int i, int j) const {
    if (j < first_key || i < first_key) return false;
    if (causal) return j <= i && (window == 0 || j > i - window);
    return window == 0 || (j > i - window && j < i + window);
  }
};

/// Keys per tile of the second pass; wider blocks are summed from partial sums.
inline constexpr int kColumnTileKeys = 128;

void launch_map_rows(const AttentionParams& params, DType dtype, const MapRow* rows, std::int64_t num_rows, float* attn,
                     cudaStream_t stream);
void launch_reduce_blocks(const AttentionParams& params, cudaStream_t stream);

/// Throws Error{failed} when the launch before was refused.
void check_launch(const char* kernel);

}  // namespace headlight::cuda
