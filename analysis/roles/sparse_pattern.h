#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace headlight::analysis {

/// Attention of one head: rows [first_row, first_row + rows) of a prompt of n tokens against all n keys.
struct AttentionRows {
  std::int64_t n = 0, first_row = 0, rows = 0;
  std::span<const float> attn_ij;  ///< [rows][n], 0 above the diagonal

  std::span<const float> row(std::int64_t i) const {  ///< i counts from the start of the prompt
    return attn_ij.subspan(static_cast<std::size_t>((i - first_row) * n), static_cast<std::size_t>(n));
  }
};

enum class SparseClass { a_shape, vertical_slash, block_sparse, dense };
std::string_view to_string(SparseClass pattern);

/// Columns and diagonals (offsets i - j) that a vertical-slash mask keeps, ascending.
struct VerticalSlash {
  std::vector<std::int64_t> columns, offsets;
};

/// The `vertical` columns and `slash` diagonals with the most attention in the last 64 rows. Columns 0..29 and offsets
/// 0..29 are taken first (fewer where the counts are smaller).
VerticalSlash choose_vertical_slash(const AttentionRows& map, std::int64_t vertical, std::int64_t slash);

/// Mean over the rows of the mass inside the causal union of the mask, in [0, 1].
double recovered_vertical_slash(const AttentionRows& map, const VerticalSlash& mask);

/// Mask: columns < sink and the band i - j <= local.
double recovered_a_shape(const AttentionRows& map, std::int64_t sink, std::int64_t local);

/// Mask: in blocks of `edge`, for each block of rows the `kept` blocks of keys with the largest score, causal.
/// @param score_ab  [blocks][blocks], blocks = ceil(n / edge): product of mean query and mean key of the blocks
double recovered_blocks(const AttentionRows& map, std::span<const double> score_ab, std::int64_t edge,
                        std::int64_t kept);

/// Shares of the mass that masks of equal cost recover, and the class of the head.
struct SparsePattern {
  double a_shape = 0, vertical_slash = 0, block_sparse = 0;
  SparseClass best = SparseClass::dense;  ///< the largest, earlier ones first, if it recovers 0.9; else dense
};

/// Every mask may keep `share` n keys a row: A-shape 30 columns and the band; vertical-slash half columns, half
/// diagonals; blocks of 32.
/// @param q_id, k_id  queries and keys of the whole prompt as multiplied, [n][head_dim]
/// @see MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention
SparsePattern sparse_pattern(const AttentionRows& map, std::span<const float> q_id, std::span<const float> k_id,
                             std::int64_t head_dim, double share = 0.1);

}  // namespace headlight::analysis
