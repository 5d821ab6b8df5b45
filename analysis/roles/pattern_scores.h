#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Attention of one head over a whole prompt: A[i][j], row-major, 0 above the diagonal. A row without any mass has no
/// distribution and counts nowhere.
struct AttentionMap {
  std::int64_t n = 0;
  std::span<const float> attn_ij;

  std::span<const float> row(std::int64_t i) const {
    return attn_ij.subspan(static_cast<std::size_t>(i * n), static_cast<std::size_t>(n));
  }
};

/// Which keys the pattern roles look for in a prompt x_0 .. x_{n-1}, per row.
struct PatternTargets {
  std::vector<std::vector<std::int64_t>> duplicate_i;  ///< j < i with x_j = x_i
  std::vector<std::vector<std::int64_t>> induction_i;  ///< 1 <= j <= i with x_{j-1} = x_i and j-1 < i
};
PatternTargets pattern_targets(std::span<const std::int32_t> ids);

/// What a head does on a prompt in which tokens repeat. Means leave out row 0, which can only look at itself. NaN =
/// undefined (no row counts).
struct PatternScores {
  double previous = 0;                 ///< mean_i A[i,i-1]
  double current = 0;                  ///< mean_i A[i,i]
  double first = 0;                    ///< mean_i A[i,0]
  double first_rate = 0;               ///< share of rows with A[i,0] > 0.3
  double positional = 0;               ///< max over 2 <= d <= 16 of mean_i A[i,i-d], rows with i >= d
  std::int64_t positional_offset = 0;  ///< the d that attains it, smallest first
  double duplicate = 0;                ///< of rows with an earlier equal token: mass there / mass off the diagonal
  double duplicate_stripe = 0;         ///< of these rows: mean mass on earlier equal tokens
  double duplicate_mass = 0;           ///< mass on earlier equal tokens / mass off the diagonal, all rows
  double induction = 0;                ///< of rows with a target: mean mass on tokens that follow an equal one
  double induction_mass = 0;           ///< that mass / all mass, all rows (row 0 too)
  double broad = 0;                    ///< mean_i H_i / ln(i+1), H in nats
  double vertical = 0;                 ///< max over j > 0 with >= 8 rows of mean_{i >= j} A[i,j]
  double distance = 0;                 ///< mean_i sum_j A[i,j] (i-j), tokens
};

/// `duplicate` is 0 where less than 0.1 % of the mass is off the diagonal: the quotient would be noise.
/// @see In-context Learning and Induction Heads; TransformerLens' head detector (pattern mass)
PatternScores pattern_scores(const AttentionMap& map, const PatternTargets& targets);

}  // namespace headlight::analysis
