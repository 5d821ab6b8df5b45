#include "analysis/roles/sentences.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/undefined.h"
#include "base/error.h"
#include "base/largest_entries.h"

namespace headlight::analysis {
namespace {

constexpr double kTemperature = 0.6, kNucleus = 0.9999, kMissingLogit = -1e9;
constexpr std::size_t kMostTokens = 100;

/// Rank of every entry of a row (1 = smallest, ties share the mean rank) over the number of entries; NaN stay.
void rank_row(std::span<double> row) {
  std::vector<std::size_t> order;
  for (std::size_t b = 0; b < row.size(); ++b)
    if (!std::isnan(row[b])) order.push_back(b);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) { return row[x] < row[y]; });
  std::vector<double> rank(row.begin(), row.end());
  for (std::size_t k = 0; k < order.size();) {
    std::size_t end = k;
    while (end < order.size() && row[order[end]] == row[order[k]]) ++end;
    const double mean = 0.5 * static_cast<double>(k + 1 + end);
    for (; k < end; ++k) rank[order[k]] = mean / static_cast<double>(order.size());
  }
  std::copy(rank.begin(), rank.end(), row.begin());
}

/// Tokens that hold the nucleus of softmax(z / temperature), largest first.
std::vector<std::int32_t> nucleus(std::span<const float> z_v) {
  std::vector<std::int32_t> order = largest_entries(z_v, kMostTokens);
  const std::size_t kept = order.size();
  const double top = z_v[static_cast<std::size_t>(order[0])];
  double sum = 0, mass = 0;
  for (const double z : z_v) sum += std::exp((z - top) / kTemperature);
  std::size_t count = 0;
  while (count < kept && mass < kNucleus * sum)
    mass += std::exp((z_v[static_cast<std::size_t>(order[count++])] - top) / kTemperature);
  order.resize(count);
  return order;
}

/// ln softmax over `tokens`; those outside `own` have a logit that leaves them nothing.
std::vector<double> log_softmax(std::span<const float> z_v, const std::set<std::int32_t>& tokens,
                                const std::vector<std::int32_t>& own) {
  const std::set<std::int32_t> kept(own.begin(), own.end());
  std::vector<double> z;
  for (const std::int32_t v : tokens)
    z.push_back(kept.contains(v) ? z_v[static_cast<std::size_t>(v)] / kTemperature : kMissingLogit);
  const double top = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (const double value : z) sum += std::exp(value - top);
  for (double& value : z) value -= top + std::log(sum);
  return z;
}

}  // namespace

std::vector<double> sentence_matrix(const AttentionMap& map, std::span<const TokenSpan> sentences) {
  const std::size_t m = sentences.size();
  std::vector<double> mean_ab(m * m, kUndefined);
  for (std::size_t a = 0; a < m; ++a)
    for (std::size_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (std::int64_t i = sentences[a].begin; i < sentences[a].end; ++i)
        for (std::int64_t j = sentences[b].begin; j < sentences[b].end; ++j)
          sum += map.row(i)[static_cast<std::size_t>(j)];
      mean_ab[a * m + b] = sum / static_cast<double>(sentences[a].size() * sentences[b].size());
    }
  return mean_ab;
}

std::vector<double> vertical_scores(std::span<const double> mean_ab, std::int64_t sentences,
                                    const VerticalOptions& options) {
  const auto m = static_cast<std::size_t>(sentences);
  HEADLIGHT_CHECK(mean_ab.size() == m * m);
  std::vector<double> values(mean_ab.begin(), mean_ab.end());
  for (std::size_t a = 0; a < m; ++a) {
    for (std::size_t b = 0; b < m; ++b)
      if (b + static_cast<std::size_t>(options.proximity) > a) values[a * m + b] = kUndefined;
    if (options.control_depth) rank_row(std::span(values).subspan(a * m, m));
  }
  std::vector<double> vertical;
  for (std::size_t b = 0; b < m; ++b) {
    double sum = 0, count = 0;
    for (std::size_t a = 0; a < m; ++a) {
      if (std::isnan(values[a * m + b])) continue;
      sum += values[a * m + b];
      count += 1;
    }
    vertical.push_back(count > 0 ? sum / count : kUndefined);
  }
  return vertical;
}

double kurtosis(std::span<const double> values) {
  double sum = 0, count = 0;
  for (const double v : values)
    if (!std::isnan(v)) sum += v, count += 1;
  if (count < 2) return kUndefined;
  const double mean = sum / count;
  double second = 0, fourth = 0;
  for (const double v : values) {
    if (std::isnan(v)) continue;
    const double square = (v - mean) * (v - mean);
    second += square / count;
    fourth += square * square / count;
  }
  return second > 0 ? fourth / (second * second) - 3.0 : kUndefined;
}

ReceiverScore receiver_score(const AttentionMap& map, std::span<const TokenSpan> sentences,
                             const VerticalOptions& options) {
  const auto vertical = vertical_scores(sentence_matrix(map, sentences), std::ssize(sentences),
                                        {.proximity = options.proximity, .control_depth = false});
  ReceiverScore out;
  for (const double v : vertical) out.peak = std::fmax(out.peak, v);
  out.above_floor = out.peak >= 2.0 / static_cast<double>(map.n);
  out.kurtosis =
      kurtosis(options.control_depth ? vertical_scores(sentence_matrix(map, sentences), std::ssize(sentences), options)
                                     : vertical);
  return out;
}

double suppression_effect(std::span<const float> base_v, std::span<const float> masked_v) {
  const auto base_tokens = nucleus(base_v), masked_tokens = nucleus(masked_v);
  std::set<std::int32_t> tokens(base_tokens.begin(), base_tokens.end());
  tokens.insert(masked_tokens.begin(), masked_tokens.end());
  const auto p = log_softmax(base_v, tokens, base_tokens), q = log_softmax(masked_v, tokens, masked_tokens);
  double divergence = 0;
  for (std::size_t v = 0; v < p.size(); ++v)
    if (std::exp(p[v]) > 0) divergence += std::exp(p[v]) * (p[v] - q[v]);
  return std::log(std::max(0.0, divergence) + 1e-9);
}

void center_rows(std::span<double> effect_ab, std::int64_t sentences) {
  for (std::int64_t a = 0; a < sentences; ++a) {
    const auto row = effect_ab.subspan(static_cast<std::size_t>(a * sentences), static_cast<std::size_t>(sentences));
    double sum = 0, count = 0;
    for (std::int64_t b = 0; b < a; ++b)
      if (!std::isnan(row[static_cast<std::size_t>(b)])) sum += row[static_cast<std::size_t>(b)], count += 1;
    for (std::int64_t b = 0; b < sentences; ++b) {
      double& value = row[static_cast<std::size_t>(b)];
      value = b < a ? value - sum / count : kUndefined;
    }
  }
}

}  // namespace headlight::analysis
