#include "attention_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace headlight::kernels::testing {
namespace {

constexpr std::int64_t kSpareKeys = 3;  // stored beyond num_keys, to be ignored

void fill(std::vector<float>& values, std::mt19937& random, float spread) {
  std::normal_distribution<float> normal(0.0f, spread);
  for (float& x : values) x = normal(random);
}

/// A NaN that no code under test produces by itself.
float poison() {
  float x;
  std::memset(&x, 0xff, sizeof x);
  return x;
}

bool bits_equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

struct Limit {
  double absolute = 0.0, relative = 0.0;
};

/// @param lse_hi  for row arrays: where it is NaN the row may be NaN as a whole
void expect_values(const AttentionCase& c, const char* what, const std::vector<float>& got,
                   const std::vector<double>& want, Limit limit, const std::vector<double>& lse_hi = {}) {
  ASSERT_EQ(got.size(), want.size()) << c.name << " " << what;
  int shown = 0;
  for (std::size_t n = 0; n < got.size() && shown < 3; ++n) {
    const double a = static_cast<double>(got[n]), b = want[n];
    if (std::isnan(b) ? std::isnan(a) : a == b) continue;
    if (!lse_hi.empty() && std::isnan(a) && std::isnan(lse_hi[n / (want.size() / lse_hi.size())])) continue;
    if (std::abs(a - b) <= limit.absolute + limit.relative * std::abs(b)) continue;
    ADD_FAILURE() << c.name << " " << what << " element " << n << " of " << got.size() << ": got " << a << ", expected "
                  << b << ", difference " << a - b;
    ++shown;
  }
}

void expect_output(const AttentionCase& c, const std::vector<float>& got, const std::vector<double>& want,
                   double limit) {
  ASSERT_EQ(got.size(), want.size()) << c.name;
  const auto dim = static_cast<std::size_t>(c.in.head_dim), heads = static_cast<std::size_t>(c.in.num_heads);
  for (std::size_t h = 0; h < heads; ++h) {
    double error = 0.0, size = 0.0;
    for (std::size_t n = 0; n < got.size(); ++n) {
      if (n / dim % heads != h) continue;
      ASSERT_EQ(std::isnan(got[n]), std::isnan(want[n])) << c.name << " output element " << n;
      if (std::isnan(want[n])) continue;
      const double difference = static_cast<double>(got[n]) - want[n];
      error += difference * difference;
      size += want[n] * want[n];
    }
    EXPECT_LE(std::sqrt(error), limit * std::sqrt(size)) << c.name << " output of head " << h;
  }
}

/// jmax must be the argmax wherever the gap to it exceeds 1e-3, else one of the nearly tied keys.
void expect_argmax(const AttentionCase& c, const AttentionOutputs& got, const AttentionReference& want) {
  for (std::size_t n = 0; n < got.jmax.size(); ++n) {
    if (got.jmax[n] == want.jmax_hi[n] || std::isnan(want.lse_hi[n])) continue;
    ASSERT_TRUE(got.jmax[n] >= 0 && want.jmax_hi[n] >= 0) << c.name << " jmax " << n << ": " << got.jmax[n];
    const int head = static_cast<int>(n / static_cast<std::size_t>(c.in.num_queries));
    const auto row = static_cast<std::int64_t>(n) % c.in.num_queries;
    const auto score = [&](std::int64_t j) { return attention_reference_scores(c.in, head, row, {j, j + 1})[0]; };
    EXPECT_LE(score(want.jmax_hi[n]) - score(got.jmax[n]), 1e-3) << c.name << " jmax " << n;
  }
}

}  // namespace

void AttentionCase::attach() {
  in.q_ihd = q.data();
  in.k_gjd = in.kv_dtype == DType::f32 ? static_cast<const void*>(k.data()) : k_bf16.data();
  in.v_gjd = in.kv_dtype == DType::f32 ? static_cast<const void*>(v.data()) : v_bf16.data();
  in.null_logit_h = null_logits.empty() ? nullptr : null_logits.data();
  plan.group_of_key_j = groups.data();
}

void AttentionCase::store_as_bf16() {
  k_bf16.clear();
  v_bf16.clear();
  for (const float x : k) k_bf16.push_back(f32_to_bf16(x));
  for (const float x : v) v_bf16.push_back(f32_to_bf16(x));
  in.kv_dtype = DType::bf16;
  attach();
}

AttentionInputs AttentionCase::rows(std::int64_t begin, std::int64_t end) const {
  AttentionInputs part = in;
  part.num_queries = end - begin;
  part.query_start = in.query_start + begin;
  part.q_ihd = in.q_ihd + begin * in.q_stride;
  if (in.mask.causal) part.num_keys = std::min(in.num_keys, part.query_start + part.num_queries);
  return part;
}

AttentionCase random_case(const CaseShape& shape, std::uint32_t seed) {
  AttentionCase c;
  std::mt19937 random(seed);
  const std::int64_t capacity = shape.num_keys + kSpareKeys, dim = shape.head_dim;
  c.in.num_queries = shape.num_queries;
  c.in.query_start = std::max<std::int64_t>(0, shape.num_keys - shape.num_queries);
  c.in.num_keys = shape.num_keys;
  c.in.num_heads = shape.num_heads;
  c.in.num_kv_heads = shape.num_kv_heads;
  c.in.head_dim = shape.head_dim;
  c.in.q_stride = shape.num_heads * dim + 5;
  c.in.kv_stride = capacity * dim;
  c.in.scale = 1.0f / std::sqrt(static_cast<float>(dim));
  c.q.resize(static_cast<std::size_t>(shape.num_queries * c.in.q_stride));
  c.k.resize(static_cast<std::size_t>(shape.num_kv_heads * c.in.kv_stride));
  c.v.resize(c.k.size());
  fill(c.q, random, shape.spread);
  fill(c.k, random, 1.0f);
  fill(c.v, random, 1.0f);
  for (std::int64_t j = 0; j < shape.num_keys; ++j) c.groups.push_back(static_cast<std::uint8_t>(j / 7 % 5));
  c.plan.num_groups = 4;  // label 4 = no group
  c.plan.local_window = 19;
  const std::int64_t last = c.in.query_start + shape.num_queries;
  c.plan.tail_rows = {std::max<std::int64_t>(0, last - 5), last};
  c.name = fmt::format("seed {} queries {} keys {} heads {}/{} D {} spread {}", seed, shape.num_queries, shape.num_keys,
                       shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.spread);
  c.attach();
  return c;
}

AttentionOutputs::AttentionOutputs(const AttentionCase& c, std::int64_t num_rows) {
  const auto heads = static_cast<std::size_t>(c.in.num_heads), rows = heads * static_cast<std::size_t>(num_rows);
  out_ihd.assign(rows * static_cast<std::size_t>(c.in.head_dim), poison());
  for (auto* values : {&lse, &entropy, &pmax, &first, &sink, &local, &dist1, &dist2, &off0, &off1, &null_mass})
    values->assign(rows, poison());
  group_mass.assign(rows * static_cast<std::size_t>(c.plan.num_groups), poison());
  jmax.assign(rows, std::numeric_limits<std::int32_t>::min());
  received.assign(heads * static_cast<std::size_t>(c.in.num_keys), 0.0f);
  received_tail = received;
  if (c.plan.block_edge == 0) return;
  block_count =
      (std::max(c.in.num_keys, c.in.query_start + c.in.num_queries) + c.plan.block_edge - 1) / c.plan.block_edge;
  block_sum.assign(heads * static_cast<std::size_t>(block_count * block_count), 0.0f);
  block_max = block_sum;
}

AttentionStatistics AttentionOutputs::statistics(const AttentionCase& c, std::int64_t first_row,
                                                 std::int64_t num_rows) {
  AttentionStatistics to;
  to.row_stride = num_rows;
  to.lse_hi = lse.data() + first_row;
  to.entropy_hi = entropy.data() + first_row;
  to.pmax_hi = pmax.data() + first_row;
  to.jmax_hi = jmax.data() + first_row;
  to.first_hi = first.data() + first_row;
  to.sink_hi = sink.data() + first_row;
  to.local_hi = local.data() + first_row;
  to.dist1_hi = dist1.data() + first_row;
  to.dist2_hi = dist2.data() + first_row;
  to.off0_hi = off0.data() + first_row;
  to.off1_hi = off1.data() + first_row;
  to.null_mass_hi = null_mass.data() + first_row;
  to.group_mass_hig = group_mass.data() + first_row * c.plan.num_groups;
  to.col_stride = c.in.num_keys;
  to.received_hj = received.data();
  to.received_tail_hj = received_tail.data();
  to.block_count = block_count;
  to.block_sum = block_sum.data();
  to.block_max = block_max.data();
  return to;
}

bool AttentionOutputs::same_bits(const AttentionOutputs& other) const {
  const auto mine = float_rows(), others = other.float_rows();
  for (std::size_t n = 0; n < mine.size(); ++n)
    if (!bits_equal(*mine[n], *others[n])) return false;
  return bits_equal(out_ihd, other.out_ihd) && jmax == other.jmax && bits_equal(group_mass, other.group_mass) &&
         bits_equal(received, other.received) && bits_equal(received_tail, other.received_tail) &&
         bits_equal(block_sum, other.block_sum) && bits_equal(block_max, other.block_max);
}

AttentionOutputs run_attention(const AttentionCase& c, int num_threads) {
  ThreadPool pool(num_threads);
  AttentionWorkspace workspace;
  AttentionOutputs got(c, c.in.num_queries);
  const AttentionStatistics to = got.statistics(c, 0, c.in.num_queries);
  attention(pool, workspace, c.in, got.out_ihd.data(), std::int64_t{c.in.num_heads} * c.in.head_dim, &c.plan, &to);
  return got;
}

std::vector<float> run_plain(const AttentionCase& c, int num_threads) {
  ThreadPool pool(num_threads);
  AttentionWorkspace workspace;
  const std::int64_t stride = std::int64_t{c.in.num_heads} * c.in.head_dim;
  std::vector<float> out(static_cast<std::size_t>(c.in.num_queries * stride), poison());
  attention(pool, workspace, c.in, out.data(), stride, nullptr, nullptr);
  return out;
}

void expect_close(const AttentionCase& c, const AttentionOutputs& got, const AttentionReference& want,
                  double output_limit) {
  double absmax = 0.0;
  for (const double s : want.score_absmax_hi) absmax = std::max(absmax, s);
  if (!std::isfinite(absmax)) absmax = 64.0;  // rows with NaN or infinity
  const double f = 1.0 + absmax / 64.0;
  expect_output(c, got.out_ihd, want.out_ihd, output_limit * f);
  expect_values(c, "lse", got.lse, want.lse_hi, {5e-5 * f, 0});
  expect_values(c, "entropy", got.entropy, want.entropy_hi, {1e-4 * f, 0}, want.lse_hi);
  expect_values(c, "pmax", got.pmax, want.pmax_hi, {0, 1e-4 * f}, want.lse_hi);
  expect_values(c, "first", got.first, want.first_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "sink", got.sink, want.sink_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "local", got.local, want.local_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "off0", got.off0, want.off0_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "off1", got.off1, want.off1_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "null_mass", got.null_mass, want.null_mass_hi, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "group_mass", got.group_mass, want.group_mass_hig, {2e-5 * f, 0}, want.lse_hi);
  expect_values(c, "dist1", got.dist1, want.dist1_hi, {1e-30, 1e-4 * f}, want.lse_hi);
  expect_values(c, "dist2", got.dist2, want.dist2_hi, {1e-30, 1e-4 * f}, want.lse_hi);
  expect_values(c, "received", got.received, want.received_hj, {1e-6, 2e-4 * f});
  expect_values(c, "received_tail", got.received_tail, want.received_tail_hj, {1e-6, 2e-4 * f});
  expect_values(c, "block_sum", got.block_sum, want.block_sum, {1e-6, 2e-4 * f});
  expect_values(c, "block_max", got.block_max, want.block_max, {1e-6, 2e-4 * f});
  expect_argmax(c, got, want);
}

}  // namespace headlight::kernels::testing
