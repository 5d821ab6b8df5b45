// One row of scores: softmax in place, and everything that is measured along the row.

#pragma once

#include "kernels/attention_products.inl"

namespace headlight::kernels {
namespace {

constexpr std::int64_t kSumBlock = 256;  // keys per partial sum
constexpr std::int64_t kFewKeys = 8;     // up to which a sum is not worth a vector
constexpr double kLargestGap = 100.0;    // a null logit 2^100 above the keys still leaves a finite sum
constexpr double kLog2EDouble = 1.44269504088896340736;
constexpr float kInfinity = __builtin_inff();

/// A row in the making: exponentials of keys [begin, end) at s[j - base], 0 in the other lanes of its vectors.
struct RowInProgress {
  int head = 0;
  std::int64_t row = 0, position = 0;
  std::int64_t base = 0, begin = 0, end = 0;
  float* s = nullptr;
  float best = -kInfinity;     // largest base-2 score of a key
  std::int64_t best_key = -1;  // searched only where the exponentials do not tell
  bool best_is_top = false;
  float top = 0.0f;                // reference of the exponentials: best, or the null logit where that is far larger
  double null_score = -kInfinity;  // base 2
  float null_weight = 0.0f;
  float inverse = 0.0f;

  float* at(std::int64_t j) const { return s + (j - base); }
};

struct RowSums {
  F16 total, weighted, dist1, dist2;
  F16 farthest_top;  // largest i - j where the exponential is 2^0, per lane
};

void apply_soft_cap(float* s, std::int64_t count, float cap) {
  const F16 factor = splat(cap * kLog2E);
  for (std::int64_t k = 0; k < count; k += kLanes) store(s + k, multiply(factor, tanh_of(load(s + k))));
}

/// Lanes of the first and last vector that the row does not see become -inf.
HEADLIGHT_INLINE void hide_edges(const RowInProgress& row) {
  const F16 hidden = splat(-kInfinity);
  const std::int64_t first = lanes_down(row.begin), last = lanes_down(row.end);
  if (first < row.begin) store(row.at(first), select_lanes(load(row.at(first)), row.begin - first, kLanes, hidden));
  if (last < row.end) store(row.at(last), select_lanes(load(row.at(last)), 0, row.end - last, hidden));
}

HEADLIGHT_INLINE KeyRange keys_of(const RowInProgress& row) {
  return {row.begin, row.end};
}

/// Replaces what was summed along a row by sums of the weights that a row program left.
void sum_again(const AttentionCall& call, float total, RowInProgress& row, RowSums& sums, float& keys_total) {
  const ChangedRowSums changed =
      sum_changed_row(row.position, call.in.mask.causal, keys_of(row), row.at(row.begin), total, row.null_weight);
  const auto in_lane_0 = [](float value) { return load_some(&value, 1); };
  sums.weighted = in_lane_0(changed.weighted);
  sums.dist1 = in_lane_0(changed.dist1);
  sums.dist2 = in_lane_0(changed.dist2);
  keys_total = changed.sum;
  row.best_key = changed.best_key;
  row.best_is_top = false;
}

/// Largest score; NaN does not count.
HEADLIGHT_INLINE float largest_score(const RowInProgress& row) {
  F16 largest = splat(-kInfinity);
  const std::int64_t last = lanes_up(row.end);
  for (std::int64_t j = lanes_down(row.begin); j < last; j += kLanes) largest = max_of(load(row.at(j)), largest);
  return max_lane(largest);
}

template <bool kStatistics, bool kCausal>
HEADLIGHT_INLINE RowSums exponentials(const RowInProgress& row) {
  const F16 zero = splat(0.0f), top = splat(row.top), step = splat(static_cast<float>(kLanes));
  const std::int64_t first = lanes_down(row.begin), last = lanes_up(row.end);
  RowSums sums{zero, zero, zero, zero, splat(-kInfinity)};
  F16 distance = subtract(splat(static_cast<float>(row.position - first)), load(kLaneNumber));
  for (std::int64_t j = first; j < last;) {
    const std::int64_t stop = smaller(last, (j / kSumBlock + 1) * kSumBlock);
    RowSums part{zero, zero, zero, zero, sums.farthest_top};
    for (; j < stop; j += kLanes) {
      F16 exponent;
      const F16 p = exp2_negative(subtract(load(row.at(j)), top), exponent);
      store(row.at(j), p);
      part.total = add(part.total, p);
      if constexpr (kStatistics) {
        part.weighted = multiply_add(p, exponent, part.weighted);
        const F16 away = kCausal ? distance : flip_signs(distance, sign_of(distance));
        const F16 moment = multiply(p, away);
        part.dist1 = add(part.dist1, moment);
        part.dist2 = multiply_add(moment, away, part.dist2);
        part.farthest_top = max_where_equal(exponent, zero, part.farthest_top, distance);
        distance = subtract(distance, step);
      }
    }
    sums.total = add(sums.total, part.total);
    if constexpr (kStatistics) {
      sums.weighted = add(sums.weighted, part.weighted);
      sums.dist1 = add(sums.dist1, part.dist1);
      sums.dist2 = add(sums.dist2, part.dist2);
      sums.farthest_top = part.farthest_top;
    }
  }
  return sums;
}

/// Sum of the exponentials of keys [from, to) among those the row sees.
float sum_keys(const RowInProgress& row, std::int64_t from, std::int64_t to) {
  from = larger(from, row.begin);
  to = smaller(to, row.end);
  if (from >= to) return 0.0f;
  const F16 zero = splat(0.0f);
  F16 sum = zero;
  for (std::int64_t j = lanes_down(from); j < to;) {
    const std::int64_t stop = smaller(to, (j / kSumBlock + 1) * kSumBlock);
    F16 part = zero;
    for (; j < stop; j += kLanes) {
      const F16 p = load(row.at(j));
      const bool whole = j >= from && j + kLanes <= to;
      part = add(part, whole ? p : select_lanes(p, from - j, to - j, zero));
    }
    sum = add(sum, part);
  }
  return sum_lanes(sum);
}

/// A row without keys or weight has inverse 0 and gets 0.
void write_group_masses(const AttentionCall& call, const RowInProgress& row) {
  const int groups = call.plan->num_groups;
  if (groups == 0) return;
  float* const mass_g = call.statistics->group_mass_hig + (row.head * call.statistics->row_stride + row.row) * groups;
  for (int g = 0; g < groups; ++g) mass_g[g] = 0.0f;
  if (row.inverse == 0.0f) return;
  for (std::int64_t n = 0; n < call.num_runs && call.runs[n].begin < row.end; ++n)
    mass_g[call.runs[n].group] += row.inverse * sum_keys(row, call.runs[n].begin, call.runs[n].end);
}

/// Smallest key with this score, -1 if there is none.
std::int64_t find_key(const RowInProgress& row, float score) {
  for (std::int64_t j = lanes_down(row.begin); j < row.end && score > -kInfinity; j += kLanes)
    if (const unsigned lanes = equal_lanes(load(row.at(j)), splat(score))) return j + __builtin_ctz(lanes);
  return -1;
}

/// What write_rows() needs, from a row of exponentials.
void sum_row(const AttentionCall& call, const RowInProgress& row, const RowSums& sums, float keys_total, float total,
             AttentionRowSums& to, std::int64_t n) {
  const AttentionStatisticsPlan& plan = *call.plan;
  const std::int64_t i = row.position, first = call.in.mask.first_key, local = i - plan.local_window + 1;
  const auto at = [&](std::int64_t j) { return j >= row.begin && j < row.end ? *row.at(j) : 0.0f; };
  to.total[n] = total;
  to.top[n] = row.top;
  to.weighted[n] = sum_lanes(sums.weighted);
  if (row.null_weight > 0.0f)
    to.weighted[n] += row.null_weight * static_cast<float>(row.null_score - static_cast<double>(row.top));
  const bool found = !row.best_is_top || !(row.best > -kInfinity);
  const std::int64_t best_key = found ? row.best_key : i - static_cast<std::int64_t>(max_lane(sums.farthest_top));
  to.best_key[n] = static_cast<std::int32_t>(best_key);
  to.best[n] = at(best_key);
  to.first[n] = at(first);
  if (plan.sink_size <= kFewKeys) {
    float sink = 0.0f;
    for (std::int64_t j = first; j < first + plan.sink_size; ++j) sink += at(j);
    to.sink[n] = sink;
  } else {
    to.sink[n] = sum_keys(row, first, first + plan.sink_size);
  }
  const bool all_local = local <= row.begin && i + 1 >= row.end;
  to.local[n] = all_local ? keys_total : sum_keys(row, local, i + 1);
  to.dist1[n] = sum_lanes(sums.dist1);
  to.dist2[n] = sum_lanes(sums.dist2);
  to.off0[n] = at(i);
  to.off1[n] = at(i - 1);
  to.null_weight[n] = row.null_weight;
}

/// A masked row has l = 1, top = -inf and nothing else: write_rows() makes lse = -inf and 0 of it.
void sum_masked_row(AttentionRowSums& to, std::int64_t n) {
  to.total[n] = 1.0f;
  to.top[n] = -kInfinity;
  to.best_key[n] = -1;
  for (float* field :
       {to.weighted, to.best, to.first, to.sink, to.local, to.dist1, to.dist2, to.off0, to.off1, to.null_weight})
    field[n] = 0.0f;
}

/// Statistics of `count` rows of one head from call row `row` on, whose sums begin at `at`.
/// lse = ln 2 top + ln l, H = ln l - ln 2 sum p z / l with z <= 0: no cancellation, also for one-hot rows.
void write_rows(const AttentionCall& call, int head, std::int64_t row, std::int64_t count, const AttentionRowSums& sums,
                std::int64_t at) {
  const AttentionStatistics& to = *call.statistics;
  const F16 ln2 = splat(kLn2), zero = splat(0.0f);
  std::int64_t n = head * to.row_stride + row;
  for (const std::int64_t end = at + count; at < end; at += kLanes, n += kLanes) {
    const std::int64_t lanes = smaller(kLanes, end - at);
    const F16 total = load(sums.total + at), log_total = log_of(total), inverse = divide(splat(1.0f), total);
    const F16 entropy = subtract(log_total, multiply(ln2, multiply(load(sums.weighted + at), inverse)));
    store_some(to.lse_hi + n, multiply_add(ln2, load(sums.top + at), log_total), lanes);
    store_some(to.entropy_hi + n, if_less(entropy, zero, zero, entropy), lanes);
    const auto share = [&](float* target, const float* field) {
      store_some(target + n, multiply(load(field + at), inverse), lanes);
    };
    share(to.pmax_hi, sums.best);
    share(to.first_hi, sums.first);
    share(to.sink_hi, sums.sink);
    share(to.local_hi, sums.local);
    share(to.dist1_hi, sums.dist1);
    share(to.dist2_hi, sums.dist2);
    share(to.off0_hi, sums.off0);
    share(to.off1_hi, sums.off1);
    share(to.null_mass_hi, sums.null_weight);
    for (std::int64_t l = 0; l < lanes; ++l) to.jmax_hi[n + l] = sums.best_key[at + l];
  }
}

/// True when there is nothing to normalise: every key that the row sees scores -inf, and no null logit catches it.
HEADLIGHT_INLINE bool choose_top(const AttentionCall& call, RowInProgress& row) {
  row.top = row.best;
  if (call.in.null_logit_h != nullptr) {
    row.null_score = static_cast<double>(call.in.null_logit_h[row.head]) * kLog2EDouble;
    if (row.null_score - static_cast<double>(row.top) > kLargestGap) row.top = static_cast<float>(row.null_score);
  }
  if (row.top > -kInfinity) return false;
  for (std::int64_t j = row.begin; j < row.end; ++j)
    if (*row.at(j) != *row.at(j)) {
      row.top = 0.0f;  // nothing but NaN and -inf: the row becomes NaN
      return false;
    }
  return true;
}

/// Softmax of one row in place: the exponentials stay in s, state.inverse is what to multiply them with.
/// @param s      scores of the vectors that hold the row's keys, column 0 = key `base`
/// @param state  the visible keys; empty afterwards when no key has a finite score
/// @param to     with statistics: element `at` gets what write_rows() wants
template <bool kStatistics>
void finish_row(const AttentionCall& call, int head, std::int64_t row_number, float* s, std::int64_t base,
                AttentionRow& state, AttentionRowSums* to, std::int64_t at) {
  RowInProgress row;
  row.head = head;
  row.row = row_number;
  row.position = call.in.query_start + row_number;
  row.s = s;
  row.base = base;
  row.begin = state.begin;
  row.end = state.end;
  bool masked = row.begin >= row.end;
  if (!masked) {
    const std::int64_t first = lanes_down(row.begin);
    const RowProgram* const program = call.in.program_h == nullptr ? nullptr : call.in.program_h + head;
    if (program != nullptr) scale_row_keys(*program, row.position, keys_of(row), row.at(row.begin));
    if (call.in.soft_cap > 0.0f) apply_soft_cap(row.at(first), lanes_up(row.end) - first, call.in.soft_cap);
    if (program != nullptr) change_row_scores(*program, row.position, keys_of(row), row.at(row.begin), kLog2E);
    hide_edges(row);
    row.best = largest_score(row);
    // Where another score is the reference, or infinity, no exponential is 2^0: the scores themselves are searched.
    row.best_is_top = call.in.null_logit_h == nullptr && row.best < kInfinity;
    if (kStatistics && !row.best_is_top) row.best_key = find_key(row, row.best);
    masked = choose_top(call, row);
  }
  if (masked) {
    if constexpr (kStatistics) {
      sum_masked_row(*to, at);
      write_group_masses(call, row);
    }
    state = {};
    return;
  }
  RowSums sums = !kStatistics || call.in.mask.causal ? exponentials<kStatistics, true>(row)
                                                     : exponentials<kStatistics, false>(row);
  float keys_total = sum_lanes(sums.total);
  if (call.in.null_logit_h != nullptr)
    row.null_weight = static_cast<float>(__builtin_exp2(row.null_score - static_cast<double>(row.top)));
  const float total = keys_total + row.null_weight;
  row.inverse = 1.0f / total;
  state.inverse = row.inverse;
  if (call.in.program_h != nullptr &&
      change_row_weights(call.in.program_h[head], row.position, keys_of(row), row.at(row.begin)) && kStatistics)
    sum_again(call, total, row, sums, keys_total);
  if constexpr (kStatistics) {
    sum_row(call, row, sums, keys_total, total, *to, at);
    write_group_masses(call, row);
  }
}

}  // namespace
}  // namespace headlight::kernels
