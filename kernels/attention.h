#pragma once

#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/dtype.h"
#include "base/thread_pool.h"

namespace headlight::kernels {

/// Half-open range of key positions.
struct KeyRange {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end > begin ? end - begin : 0; }
};

/// Which keys a query may see. Positions are absolute, counted from the first stored key.
struct AttentionMask {
  bool causal = true;
  std::int64_t window = 0;     ///< W > 0: key j is visible iff i - W < j <= i (bidirectional: |i - j| < W); 0 = all
  std::int64_t first_key = 0;  ///< left padding: keys before it are invisible and rows before it are fully masked

  /// Keys visible to the query at absolute position `position` when `num_keys` keys exist.
  KeyRange visible(std::int64_t position, std::int64_t num_keys) const;
};

struct RowProgram;

/// One layer of attention over H query heads and G KV heads; query head h reads KV head floor(h * G / H).
///
///     s[h,i,j] = scale * <q[h,i], k[g,j]>, then soft_cap * tanh(s / soft_cap) if soft_cap > 0, then the mask
///     A[h,i,j] = exp(s[h,i,j] - lse[h,i]),   lse = ln( sum_j exp(s[h,i,j]) + exp(null_logit[h]) )
///     o[h,i]   = sum_j A[h,i,j] v[g,j]
///
/// A row without any visible key gives o = 0 (also when a null logit exists).
struct AttentionInputs {
  std::int64_t num_queries = 0;  ///< rows of this call
  std::int64_t query_start = 0;  ///< absolute position of row 0
  std::int64_t num_keys = 0;     ///< keys stored so far, including those of this call
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  const float* q_ihd = nullptr;  ///< element (i, h, d) at q_ihd[i * q_stride + h * head_dim + d]
  std::int64_t q_stride = 0;
  DType kv_dtype = DType::f32;  ///< f32 or bf16
  const void* k_gjd = nullptr;  ///< element (g, j, d) at [g * kv_stride + j * head_dim + d]
  const void* v_gjd = nullptr;
  std::int64_t kv_stride = 0;  ///< elements between KV heads (capacity * head_dim)
  float scale = 1.0f;
  float soft_cap = 0.0f;                ///< 0 = off
  const float* null_logit_h = nullptr;  ///< [H] learned sink logits, or nullptr
  AttentionMask mask;
  const RowProgram* program_h = nullptr;  ///< [H] what interventions do to rows (row_program.h), or nullptr
};

/// Receives finished rows of A: for top-k entries and dense maps. Called concurrently for different rows.
class RowTap {
 public:
  virtual ~RowTap() = default;
  virtual bool wants(int head, std::int64_t position) const = 0;
  /// @param attn_j  A[h,i, keys.begin .. keys.end), effective probabilities
  virtual void row(int head, std::int64_t position, KeyRange keys, std::span<const float> attn_j) = 0;
};

/// What to measure beside the output.
struct AttentionStatisticsPlan {
  std::int64_t sink_size = 4;                    ///< S: keys first_key .. first_key + S - 1 count as sinks
  std::int64_t local_window = 256;               ///< W: keys i - W < j <= i count as local (self included)
  KeyRange tail_rows;                            ///< absolute rows whose attention is summed into received_tail
  std::int64_t block_edge = 0;                   ///< edge b of the block map; 0 = none
  int num_groups = 0;                            ///< segments; 0 = none, at most 16
  const std::uint8_t* group_of_key_j = nullptr;  ///< [num_keys] label < num_groups; other values = no group
  RowTap* tap = nullptr;
};

/// Where the statistics go. Every pointer is required unless noted. H = num_heads, n = num_queries.
/// Row arrays are [H][row_stride], written at row i of this call; column arrays are [H][col_stride] over absolute key
/// positions and are ADDED to, so that chunks of a prompt and decode steps accumulate.
///
/// A fully masked row gets lse = -inf, jmax = -1 and 0 elsewhere. All row masses are shares of the whole
/// denominator; with a null logit they sum to 1 - null_mass, and `entropy` counts the null event as one outcome.
/// Where a row program acts everything is measured on the changed weights, except lse: that of the changed scores before
/// steps on weights.
struct AttentionStatistics {
  std::int64_t row_stride = 0;
  float* lse_hi = nullptr;          ///< ln of the denominator, nats
  float* entropy_hi = nullptr;      ///< -sum_j A ln A (- null ln null), nats
  float* pmax_hi = nullptr;         ///< max_j A
  std::int32_t* jmax_hi = nullptr;  ///< smallest j that attains the largest score
  float* first_hi = nullptr;        ///< A at the first key that is not padding (0 when a window hides it)
  float* sink_hi = nullptr;         ///< sum of A over the first S keys
  float* local_hi = nullptr;        ///< sum of A over i - W < j <= i
  float* dist1_hi = nullptr;        ///< sum_j A (i - j), tokens (|i - j| when not causal)
  float* dist2_hi = nullptr;        ///< sum_j A (i - j)^2, tokens^2
  float* off0_hi = nullptr;         ///< A at j = i
  float* off1_hi = nullptr;         ///< A at j = i - 1
  float* null_mass_hi = nullptr;    ///< exp(null_logit - lse); 0 without null logit
  float* group_mass_hig = nullptr;  ///< [H][row_stride][num_groups]; may be null when num_groups = 0

  std::int64_t col_stride = 0;
  float* received_hj = nullptr;       ///< sum_i A over all rows
  float* received_tail_hj = nullptr;  ///< sum over rows in plan.tail_rows
  /// Block maps over absolute positions: element (h, bi, bj) at [h * B * B + bi * B + bj], B = block_count.
  std::int64_t block_count = 0;
  float* block_sum = nullptr;  ///< sum of A over rows and columns of the block; added to
  float* block_max = nullptr;  ///< max of A over the block; maximum with what is there
};

/// Scratch memory that is kept between calls (packed keys, score tiles, column partials).
class AttentionWorkspace {
 public:
  AttentionWorkspace();
  AttentionWorkspace(const AttentionWorkspace&) = delete;
  AttentionWorkspace& operator=(const AttentionWorkspace&) = delete;
  ~AttentionWorkspace();
  struct Impl;
  Impl& impl() { return *impl_; }
  std::uint64_t bytes() const;  ///< memory held now

 private:
  Impl* impl_;
};

/// Attention of one layer, output and optionally statistics, in O(N) memory beyond the operands: a tile of query rows
/// against all its visible keys is held at a time, never an N x N matrix. With statistics the output has the same bits
/// as without. The same bits for any thread count.
///
/// @param out_ihd  [num_queries][num_heads * head_dim], row stride out_stride
/// @param plan, statistics  both null = plain attention
void attention(ThreadPool& pool, AttentionWorkspace& workspace, const AttentionInputs& in, float* out_ihd,
               std::int64_t out_stride, const AttentionStatisticsPlan* plan, const AttentionStatistics* statistics);

/// Memory attention() will hold for these sizes (the estimate of `--estimate`).
std::uint64_t attention_workspace_bytes(std::int64_t num_queries, std::int64_t num_keys, int num_heads,
                                        int num_kv_heads, int head_dim, int num_threads, bool statistics);

/// Scores of one row: s[j - keys.begin] for the visible keys, computed as attention() does (replay).
/// A[j] = exp(s[j] - lse); with a row program the changed scores, before its step on weights.
void attention_scores_row(const AttentionInputs& in, int head, std::int64_t row, KeyRange keys, float* scores);

}  // namespace headlight::kernels
