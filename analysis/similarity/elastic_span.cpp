#include "analysis/similarity/elastic_span.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "analysis/attention_rows.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kSmallestSpan = 128, kSpanBlock = 64, kSinkPart = 64;

// sum over keys < j, [rows][num_keys + 1].
std::vector<double> prefix_sums(const std::vector<float>& attn_nj, std::int64_t num_rows, std::int64_t num_keys) {
  std::vector<double> prefix(static_cast<std::size_t>(num_rows * (num_keys + 1)), 0.0);
  for (std::int64_t n = 0; n < num_rows; ++n)
    for (std::int64_t j = 0; j < num_keys; ++j)
      prefix[n * (num_keys + 1) + j + 1] = prefix[n * (num_keys + 1) + j] + attn_nj[n * num_keys + j];
  return prefix;
}

// Smallest span, a multiple of the block, whose first and last tokens hold the wanted share, mean over rows.
std::int64_t smallest_span(const std::vector<float>& attn_nj, const std::vector<std::int64_t>& rows,
                           std::int64_t num_keys, const SpanCoverageOptions& options) {
  const auto prefix = prefix_sums(attn_nj, std::ssize(rows), num_keys);
  for (std::int64_t span = options.block; span < num_keys; span += options.block) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < std::ssize(rows); ++n) {
      const double* before = prefix.data() + n * (num_keys + 1);
      const std::int64_t end = rows[n] + 1, sink = std::min({options.sink, span, end});
      const std::int64_t recent = std::max(end - (span - sink), sink);
      const double all = before[end], kept = before[sink] + all - before[recent];
      sum += all > 0.0 ? kept / all : 1.0;
    }
    if (sum >= options.coverage * static_cast<double>(rows.size())) return span;
  }
  return num_keys;
}

}  // namespace

std::int64_t SpanRule::runtime_span(std::int64_t num_tokens) const {
  const auto wanted = static_cast<std::int64_t>(std::trunc(span(num_tokens)));
  const std::int64_t size = std::max(std::min(wanted, num_tokens), kSmallestSpan);
  return (size + kSpanBlock - 1) / kSpanBlock * kSpanBlock;
}

std::int64_t SpanRule::sink_part(std::int64_t num_tokens) const {
  return std::min(runtime_span(num_tokens), kSinkPart);
}

double span_density(std::span<const SpanRule> rules, std::int64_t num_tokens) {
  double sum = 0.0;
  for (const SpanRule& rule : rules) sum += rule.span(num_tokens) / static_cast<double>(num_tokens);
  return rules.empty() ? 0.0 : sum / static_cast<double>(rules.size());
}

std::vector<double> masking_influence(std::span<const double> attn_j, std::span<const double> gradient_j) {
  HEADLIGHT_CHECK(attn_j.size() == gradient_j.size());
  if (attn_j.size() == 1) return {-gradient_j[0] * attn_j[0]};
  const double mean = std::inner_product(attn_j.begin(), attn_j.end(), gradient_j.begin(), 0.0);
  std::vector<double> influence_j;
  for (std::size_t j = 0; j < attn_j.size(); ++j)
    influence_j.push_back(attn_j[j] * (mean - gradient_j[j]) /
                          std::max(1.0 - attn_j[j], std::numeric_limits<double>::epsilon()));
  return influence_j;
}

SpanCoverage span_coverage(const capture::CaptureView& view, std::int64_t record, const SpanCoverageOptions& options,
                           ThreadPool& pool, std::stop_token stop) {
  const auto info = view.record(record);
  const auto rows = sample_replay_rows(info, options.rows, 32);
  const auto layers = static_cast<int>(std::ssize(view.header().plan.layers));
  const std::int64_t heads = view.header().model.num_heads;
  SpanCoverage out;
  out.span_lh.assign(layers * heads, std::numeric_limits<double>::quiet_NaN());
  double density = 0.0, counted = 0.0;
  for (int l = 0; l < layers && !rows.empty(); ++l)
    for (const int h : recorded_heads(view, record, l)) {
      const auto attn_nj = attention_rows(view, {record, l, h}, rows, pool, stop);
      const std::int64_t span = smallest_span(attn_nj, rows, info.num_rows, options);
      out.span_lh[l * heads + h] = static_cast<double>(span);
      density += static_cast<double>(span) / static_cast<double>(info.num_rows);
      ++counted;
    }
  out.density = counted > 0 ? density / counted : std::numeric_limits<double>::quiet_NaN();
  return out;
}

}  // namespace headlight::analysis
