#include "kernels/attention_ref.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/row_program_ref.h"

namespace headlight::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Element (g, j, d) of keys or values.
double element(const AttentionInputs& in, const void* kv_gjd, std::int64_t kv_head, std::int64_t j, std::int64_t d) {
  const auto at = static_cast<std::size_t>(kv_head * in.kv_stride + j * in.head_dim + d);
  if (in.kv_dtype == DType::bf16)
    return static_cast<double>(bf16_to_f32(static_cast<const std::uint16_t*>(kv_gjd)[at]));
  return static_cast<double>(static_cast<const float*>(kv_gjd)[at]);
}

std::int64_t kv_head_of(const AttentionInputs& in, int head) {
  return std::int64_t{head} * in.num_kv_heads / in.num_heads;
}

/// One row of A, over keys [keys.begin, keys.end).
struct Row {
  int head = 0;
  std::int64_t row = 0, position = 0;
  KeyRange keys;
  std::vector<double> attn_j;
  double lse = -kInfinity, null_mass = 0.0;
  std::int64_t jmax = -1;
  double absmax = 0.0;

  double at(std::int64_t j) const {
    return j >= keys.begin && j < keys.end ? attn_j[static_cast<std::size_t>(j - keys.begin)] : 0.0;
  }
};

Row make_row(const AttentionInputs& in, int head, std::int64_t i) {
  Row row;
  row.head = head;
  row.row = i;
  row.position = in.query_start + i;
  row.keys = in.mask.visible(row.position, in.num_keys);
  const std::vector<double> scores = attention_reference_scores(in, head, i, row.keys);
  double top = -kInfinity;
  bool any_nan = false;
  for (std::size_t n = 0; n < scores.size(); ++n) {
    any_nan |= std::isnan(scores[n]);
    row.absmax = std::max(row.absmax, std::abs(scores[n]));
    if (!(scores[n] > top)) continue;
    top = scores[n];
    row.jmax = row.keys.begin + static_cast<std::int64_t>(n);
  }
  const double null_logit = in.null_logit_h != nullptr ? static_cast<double>(in.null_logit_h[head]) : -kInfinity;
  if (scores.empty() || (top == -kInfinity && null_logit == -kInfinity && !any_nan)) {  // nothing to look at
    row.keys = {};
    return row;
  }
  const double reference = any_nan ? 0.0 : std::max(top, null_logit);
  double sum = std::exp(null_logit - reference);
  for (const double s : scores) sum += std::exp(s - reference);
  row.lse = reference + std::log(sum);
  row.null_mass = std::exp(null_logit - row.lse);
  for (const double s : scores) row.attn_j.push_back(std::exp(s - row.lse));
  if (in.program_h != nullptr) {
    reference_change_weights(in.program_h[head], row.position, row.keys, row.attn_j);
    row.jmax = row.keys.begin + (std::max_element(row.attn_j.begin(), row.attn_j.end()) - row.attn_j.begin());
  }
  return row;
}

void write_output(const AttentionInputs& in, const Row& row, std::vector<double>& out_ihd) {
  std::vector<double> weight = row.attn_j;
  if (in.program_h != nullptr) {
    const std::vector<double> factor = reference_value_scales(in.program_h[row.head], row.position, row.keys);
    for (std::size_t n = 0; n < weight.size(); ++n) weight[n] *= factor[n];
  }
  const auto at = static_cast<std::size_t>((row.row * in.num_heads + row.head) * in.head_dim);
  for (std::int64_t d = 0; d < in.head_dim; ++d) {
    double sum = 0.0;
    for (std::int64_t j = row.keys.begin; j < row.keys.end; ++j)
      sum +=
          weight[static_cast<std::size_t>(j - row.keys.begin)] * element(in, in.v_gjd, kv_head_of(in, row.head), j, d);
    out_ihd[at + static_cast<std::size_t>(d)] = sum;
  }
}

double sum_of(const Row& row, std::int64_t begin, std::int64_t end) {
  double sum = 0.0;
  for (std::int64_t j = begin; j < end; ++j) sum += row.at(j);
  return sum;
}

/// x ln x with its limit 0 at 0.
double x_log_x(double x) {
  return x == 0.0 ? 0.0 : x * std::log(x);
}

void write_row(const AttentionInputs& in, const AttentionStatisticsPlan& plan, const Row& row, AttentionReference& to) {
  const auto n = static_cast<std::size_t>(row.head * in.num_queries + row.row);
  const std::int64_t i = row.position, first = in.mask.first_key;
  double entropy = -x_log_x(row.null_mass), pmax = 0.0, dist1 = 0.0, dist2 = 0.0;
  for (std::int64_t j = row.keys.begin; j < row.keys.end; ++j) {
    const double a = row.at(j), distance = static_cast<double>(in.mask.causal ? i - j : std::abs(i - j));
    entropy -= x_log_x(a);
    pmax = a > pmax || std::isnan(a) ? a : pmax;
    dist1 += a * distance;
    dist2 += a * distance * distance;
  }
  to.jmax_hi[n] = row.jmax;
  to.entropy_hi[n] = entropy;
  to.pmax_hi[n] = pmax;
  to.first_hi[n] = row.at(first);
  to.sink_hi[n] = sum_of(row, first, std::min(first + plan.sink_size, in.num_keys));
  to.local_hi[n] = sum_of(row, std::max<std::int64_t>(0, i - plan.local_window + 1), i + 1);
  to.dist1_hi[n] = dist1;
  to.dist2_hi[n] = dist2;
  to.off0_hi[n] = row.at(i);
  to.off1_hi[n] = row.at(i - 1);
  to.null_mass_hi[n] = row.null_mass;
  for (std::int64_t j = row.keys.begin; j < row.keys.end; ++j)
    if (plan.num_groups > 0 && plan.group_of_key_j[j] < plan.num_groups)
      to.group_mass_hig[n * static_cast<std::size_t>(plan.num_groups) + plan.group_of_key_j[j]] += row.at(j);
}

void add_columns(const AttentionInputs& in, const AttentionStatisticsPlan& plan, const Row& row,
                 AttentionReference& to) {
  const bool in_tail = row.position >= plan.tail_rows.begin && row.position < plan.tail_rows.end;
  for (std::int64_t j = row.keys.begin; j < row.keys.end; ++j) {
    const double a = row.at(j);
    const auto column = static_cast<std::size_t>(row.head * in.num_keys + j);
    to.received_hj[column] += a;
    if (in_tail) to.received_tail_hj[column] += a;
    if (plan.block_edge == 0) continue;
    const auto block = static_cast<std::size_t>(
        (row.head * to.block_count + row.position / plan.block_edge) * to.block_count + j / plan.block_edge);
    to.block_sum[block] += a;
    if (a > to.block_max[block] || std::isnan(a)) to.block_max[block] = a;
  }
}

void allocate(const AttentionInputs& in, const AttentionStatisticsPlan* plan, AttentionReference& to) {
  const auto heads = static_cast<std::size_t>(in.num_heads), rows = heads * static_cast<std::size_t>(in.num_queries);
  to.out_ihd.assign(rows * static_cast<std::size_t>(in.head_dim), 0.0);
  to.lse_hi.assign(rows, 0.0);
  to.score_absmax_hi.assign(rows, 0.0);
  if (plan == nullptr) return;
  for (auto* values : {&to.entropy_hi, &to.pmax_hi, &to.first_hi, &to.sink_hi, &to.local_hi, &to.dist1_hi, &to.dist2_hi,
                       &to.off0_hi, &to.off1_hi, &to.null_mass_hi})
    values->assign(rows, 0.0);
  to.jmax_hi.assign(rows, -1);
  to.group_mass_hig.assign(rows * static_cast<std::size_t>(plan->num_groups), 0.0);
  for (auto* values : {&to.received_hj, &to.received_tail_hj})
    values->assign(heads * static_cast<std::size_t>(in.num_keys), 0.0);
  if (plan->block_edge == 0) return;
  const std::int64_t positions = std::max(in.num_keys, in.query_start + in.num_queries);
  to.block_count = (positions + plan->block_edge - 1) / plan->block_edge;
  for (auto* values : {&to.block_sum, &to.block_max})
    values->assign(heads * static_cast<std::size_t>(to.block_count * to.block_count), 0.0);
}

}  // namespace

std::vector<double> attention_reference_scores(const AttentionInputs& in, int head, std::int64_t row, KeyRange keys) {
  std::vector<double> scores, factor;
  const std::int64_t position = in.query_start + row;
  if (in.program_h != nullptr) factor = reference_key_scales(in.program_h[head], position, keys);
  const float* const q = in.q_ihd + row * in.q_stride + std::int64_t{head} * in.head_dim;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    double dot = 0.0;
    for (std::int64_t d = 0; d < in.head_dim; ++d)
      dot += static_cast<double>(q[d]) * element(in, in.k_gjd, kv_head_of(in, head), j, d);
    const double scale = factor.empty() ? 1.0 : factor[static_cast<std::size_t>(j - keys.begin)];
    const double s = dot * scale * static_cast<double>(in.scale), cap = static_cast<double>(in.soft_cap);
    scores.push_back(cap > 0.0 ? cap * std::tanh(s / cap) : s);
  }
  if (in.program_h != nullptr) reference_change_scores(in.program_h[head], position, keys, scores);
  return scores;
}

AttentionReference attention_reference(const AttentionInputs& in, const AttentionStatisticsPlan* plan) {
  HEADLIGHT_CHECK(in.kv_dtype == DType::f32 || in.kv_dtype == DType::bf16);
  AttentionReference to;
  allocate(in, plan, to);
  for (int h = 0; h < in.num_heads; ++h)
    for (std::int64_t i = 0; i < in.num_queries; ++i) {
      const Row row = make_row(in, h, i);
      const auto n = static_cast<std::size_t>(h * in.num_queries + i);
      to.lse_hi[n] = row.lse;
      to.score_absmax_hi[n] = row.absmax;
      write_output(in, row, to.out_ihd);
      if (plan == nullptr) continue;
      write_row(in, *plan, row, to);
      add_columns(in, *plan, row, to);
    }
  return to;
}

}  // namespace headlight::kernels
