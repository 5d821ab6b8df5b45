#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/attention.h"

namespace headlight::kernels {

/// Keys [begin, end) and a number that belongs to them.
struct KeyRun {
  std::int64_t begin = 0, end = 0;
  float value = 0.0f;
};

/// What a step does to one row of one head. s = scores after the soft cap, A = weights, R = sum_j A[j] (1, less the
/// share of a learned sink), n = visible keys, m_g = sum of A / R over group g.
enum class RowOp : std::uint8_t {
  // On scores, in this order:
  scale_keys,   ///< <q,k_j> *= value of the run, before the soft cap: a scaled key
  temperature,  ///< s *= tau                                       (constants: tau)
  raise,        ///< s_j += |s_j| times the value of the run
  bias,         ///< s_j += value of the run, nats; -inf masks
  // On weights, at most one for a row. Groups are the values of the runs; keys in no run are group 0.
  weigh_groups,     ///< A_j *= w_g, not renormalised               (constants: w_0 .. w_3)
  move_from_sinks,  ///< group 1 keeps beta of its weight, group 0 receives the rest in proportion, group 2 stays
                    ///< (constants: beta)
  move_to_targets,  ///< groups 1 and 2 give the share p to group 3 in proportion, where m_2 + m_3 >= least and
                    ///< m_3 / (m_2 + m_3) >= ratio                 (constants: p, least, ratio)
  set_masses,       ///< groups 0 to 2 share what group 3 leaves of R by c_g / sum c, those without weight get nothing:
                    ///< A_j *= (1-u) + u (1 - m_3) c_g / (m_g sum c)   (constants: c_0, c_1, c_2, u)
  shift_gaze,       ///< keys of runs w > 0: A_j *= w; of runs -1: A_j *= r, r = sum w A / sum A over the former;
                    ///< then renormalised to R
  swap_keys,        ///< the weights of two runs of one key each change places
  mix_uniform,      ///< A' = (1-u) A + u R / n                     (constants: u, as below)
  mix_reversed,     ///< A' = (1-u) A + u R (max A - A) / sum (max A - A); uniform where all are equal
  mix_random,       ///< A' = (1-u) A + u R r / sum r, r uniform in (0, 1] by (seed, i, j)
  mix_shuffled,     ///< A' = (1-u) A + u A[permutation by (seed, i)]
  mix_self,         ///< A' = (1-u) A + u R [j = i]
  // On values: the map stays as it is.
  scale_values,  ///< v_j *= value of the run, in the output only
};
inline constexpr bool acts_on_scores(RowOp op) {
  return op <= RowOp::bias;
}
inline constexpr bool has_groups(RowOp op) {
  return op >= RowOp::weigh_groups && op <= RowOp::set_masses;
}
/// "move_from_sinks": the name in files.
std::string_view to_string(RowOp op);
std::optional<RowOp> row_op_of(std::string_view name);

struct RowStep {
  RowOp op = RowOp::bias;
  KeyRange rows;                 ///< absolute query positions
  const KeyRun* runs = nullptr;  ///< ascending, disjoint
  std::int64_t num_runs = 0;
  float constants[4] = {};
  std::uint64_t seed = 0;
};

/// The steps of one head: scale_keys, temperature, raise, bias, then weights, then values. Plain data, so that it can
/// go to a device.
///
/// A row that sees one key is left alone; so is one whose visible keys would all be masked (the masks are left out),
/// and one whose groups do not allow the step (no weight to move, nobody to receive it: less than 1e-6 of the row).
struct RowProgram {
  const RowStep* steps = nullptr;
  std::int64_t num_steps = 0;
};

/// Factors c_g of the groups of a step on groups, A'_j = c_g A_j, from the shares of the groups. Returns false when the
/// row is left alone.
bool group_factors(const RowStep& step, const double (&mass)[4], double (&factor)[4]);

// The stages of one row. `s` and `e` point at key keys.begin.

/// scale_keys steps, on dot products in any unit.
void scale_row_keys(const RowProgram& program, std::int64_t position, KeyRange keys, float* s);
/// temperature, raise and bias, on scores in units of 1/`unit` nats (log2 e: base 2).
void change_row_scores(const RowProgram& program, std::int64_t position, KeyRange keys, float* s, float unit);
/// The step on weights, on weights in any unit. Returns true when they may have changed.
bool change_row_weights(const RowProgram& program, std::int64_t position, KeyRange keys, float* e);

/// scale_values, after everything was measured: the weights that multiply values.
void scale_row_values(const RowProgram& program, std::int64_t position, KeyRange keys, float* e);

/// What the row statistics need of changed weights e, in units of 1/total.
struct ChangedRowSums {
  float weighted = 0.0f;  ///< W so that entropy = ln total - ln 2 W / total, less the null event
  float sum = 0.0f, dist1 = 0.0f, dist2 = 0.0f;
  std::int64_t best_key = -1;
};
/// @param total  of all weights before the change, with the null logit's `null_weight`
ChangedRowSums sum_changed_row(std::int64_t position, bool causal, KeyRange keys, const float* e, float total,
                               float null_weight);

}  // namespace headlight::kernels
