#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/row_program.h"

namespace headlight::kernels {

// Private to attention*.cpp: what one call shares between its tasks, and the loops that are compiled once per
// instruction set. Plain data only: the units of the tiers must not emit shared inline code.

inline constexpr int kAttentionLanes = 16;          ///< keys per packed group; vectors are 16 floats on every tier
inline constexpr std::int64_t kDirectChunk = 1024;  ///< keys per task of the direct path
inline constexpr int kMaxUnitHeads = 16;
inline constexpr std::int64_t kAttentionTileRows = 96;  ///< rows of a tile, at most

/// Query heads [head_begin, head_end) of one KV head that are worked on together.
struct AttentionUnit {
  int kv_head = 0, head_begin = 0, head_end = 0;
  int heads() const { return head_end - head_begin; }
};

/// Keys [begin, end) carry one group label.
struct GroupRun {
  std::int64_t begin = 0, end = 0;
  int group = 0;
};

struct AttentionCall {
  AttentionInputs in;
  const AttentionStatisticsPlan* plan = nullptr;  // both null: plain attention
  const AttentionStatistics* statistics = nullptr;
  float* out_ihd = nullptr;
  std::int64_t out_stride = 0;
  const GroupRun* runs = nullptr;
  std::int64_t num_runs = 0;
  std::int64_t dim_padded = 0;       // head_dim rounded up to whole vectors
  const float* k_packed = nullptr;   // [G][groups of 16 keys][head_dim][16], keys beyond the last are 0
  std::int64_t k_packed_stride = 0;  // floats between KV heads
  const float* v_gjd = nullptr;      // f32 values, rows of v_row_stride floats, whole vectors readable
  std::int64_t v_row_stride = 0, v_head_stride = 0;
};

/// One finished row: the visible keys, and 1 / (sum of the stored exponentials). begin == end: nothing to see.
struct AttentionRow {
  std::int64_t begin = 0, end = 0;
  float inverse = 0.0f;
};

/// Sums along the rows of a tile before they are normalised, heads outermost: 1 / l, ln l and the writing are done for
/// many rows at once. Padded so that whole vectors can be read.
struct AttentionRowSums {
  static constexpr std::int64_t kSize = kAttentionTileRows + kAttentionLanes;
  float total[kSize];     // of the exponentials, with the null logit's
  float top[kSize];       // reference of the exponentials, base 2
  float weighted[kSize];  // sum of exponential * exponent
  float best[kSize], first[kSize], sink[kSize], local[kSize], dist1[kSize], dist2[kSize], off0[kSize], off1[kSize],
      null_weight[kSize];
  std::int32_t best_key[kSize];
};

/// Scratch of one worker.
struct AttentionScratch {
  float* scores = nullptr;           // [rows][stride]
  float* q = nullptr;                // [rows][head_dim], scaled
  float* out = nullptr;              // [rows][dim_padded]
  AttentionRow* rows = nullptr;      // [rows]
  AttentionRowSums* sums = nullptr;  // statistics only
  float* columns = nullptr;          // two rows of columns: sums and maxima for the block map
  std::int64_t columns_stride = 0;
};

/// Column sums of one task, over absolute keys: [heads of the unit][stride]. `tail` is null outside the tail rows.
struct ColumnPartials {
  float* received = nullptr;
  float* tail = nullptr;
  std::int64_t stride = 0;
};

struct AttentionLoops {
  /// Rows [row_begin, row_end) of a unit: scores, softmax, statistics, output.
  void (*tile)(const AttentionCall&, const AttentionUnit&, std::int64_t row_begin, std::int64_t row_end,
               const AttentionScratch&, const ColumnPartials&);
  /// Few rows, keys not packed: base-2 scores of keys [key_begin, key_end) into scores[row][key].
  void (*direct_scores)(const AttentionCall&, const AttentionUnit&, std::int64_t key_begin, std::int64_t key_end,
                        const float* q, float* scores, std::int64_t stride);
  /// Softmax and statistics of all rows of head `head_begin + head`.
  void (*direct_rows)(const AttentionCall&, const AttentionUnit&, int head, const AttentionScratch&,
                      std::int64_t stride, const ColumnPartials&);
  /// Unnormalised output of keys [key_begin, key_end) into out[row][dim_padded].
  void (*direct_values)(const AttentionCall&, const AttentionUnit&, std::int64_t key_begin, std::int64_t key_end,
                        const float* scores, std::int64_t stride, const AttentionRow* rows, float* out);
  /// q * scale in the units of the scores, [rows][head_dim].
  void (*scale_queries)(const AttentionCall&, const AttentionUnit&, std::int64_t row_begin, std::int64_t row_end,
                        float* q);
  /// Natural-log scores of one row.
  void (*scores_row)(const AttentionInputs&, int head, std::int64_t row, KeyRange keys, float* scores);
  /// Keys [key_begin, key_end) of a KV head into call.k_packed, values into call.v_gjd where those are a copy.
  void (*pack)(const AttentionCall&, int kv_head, std::int64_t key_begin, std::int64_t key_end, float* k_packed,
               float* values);
  void (*add)(float* to, const float* from, std::int64_t count);
  void (*exp2)(float* x, std::int64_t count);  // for tests: x <= 0, count a multiple of 16
  void (*tanh)(float* x, std::int64_t count);
};

const AttentionLoops& attention_loops_scalar();
const AttentionLoops& attention_loops_avx2();
const AttentionLoops& attention_loops_avx512();

/// Out of line, so that no unit of a tier instantiates std::span.
void deliver_row(RowTap& tap, int head, std::int64_t position, KeyRange keys, const float* attn_j);

}  // namespace headlight::kernels
