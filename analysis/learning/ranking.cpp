#include "analysis/learning/ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "analysis/learning/random.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<std::int64_t> ascending(std::span<const double> values) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return values[a] < values[b]; });
  return order;
}

}  // namespace

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(6.283185307179586 * uniform());
}

std::vector<double> average_ranks(std::span<const double> values) {
  const auto order = ascending(values);
  std::vector<double> rank(values.size());
  for (std::int64_t begin = 0, end = 0; begin < std::ssize(order); begin = end) {
    while (end < std::ssize(order) && values[order[end]] == values[order[begin]]) ++end;
    for (std::int64_t n = begin; n < end; ++n) rank[order[n]] = 0.5 * static_cast<double>(begin + 1 + end);
  }
  return rank;
}

double pearson(std::span<const double> a, std::span<const double> b) {
  HEADLIGHT_CHECK(a.size() == b.size());
  if (a.size() < 2) return kNaN;
  const double n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n;
  const double mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double aa = 0, bb = 0, ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
    ab += (a[i] - mean_a) * (b[i] - mean_b);
  }
  return aa > 0.0 && bb > 0.0 ? std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0) : kNaN;
}

double spearman(std::span<const double> a, std::span<const double> b) {
  return pearson(average_ranks(a), average_ranks(b));
}

double kendall(std::span<const double> a, std::span<const double> b) {
  HEADLIGHT_CHECK(a.size() == b.size());
  std::int64_t balance = 0, pairs_a = 0, pairs_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      const int x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
      balance += x * y;
      pairs_a += x != 0;
      pairs_b += y != 0;
    }
  if (pairs_a == 0 || pairs_b == 0) return kNaN;
  return static_cast<double>(balance) / std::sqrt(static_cast<double>(pairs_a) * static_cast<double>(pairs_b));
}

double roc_auc(std::span<const double> score, std::span<const int> label) {
  HEADLIGHT_CHECK(score.size() == label.size());
  const auto rank = average_ranks(score);
  double rank_sum = 0, positives = 0;
  for (std::size_t i = 0; i < label.size(); ++i)
    if (label[i] == 1) {
      rank_sum += rank[i];
      ++positives;
    }
  const double negatives = static_cast<double>(label.size()) - positives;
  if (positives == 0.0 || negatives == 0.0) return kNaN;
  return (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives);
}

std::vector<RocPoint> roc_curve(std::span<const double> score, std::span<const int> label) {
  HEADLIGHT_CHECK(score.size() == label.size());
  auto order = ascending(score);
  std::reverse(order.begin(), order.end());
  const auto positives = static_cast<double>(std::count(label.begin(), label.end(), 1));
  const double negatives = static_cast<double>(label.size()) - positives;
  std::vector<RocPoint> curve = {{std::numeric_limits<double>::infinity(), 0.0, 0.0}};
  double hits = 0, alarms = 0;
  for (std::size_t n = 0; n < order.size(); ++n) {
    (label[order[n]] == 1 ? hits : alarms) += 1.0;
    if (n + 1 < order.size() && score[order[n + 1]] == score[order[n]]) continue;
    curve.push_back(
        {score[order[n]], negatives > 0 ? alarms / negatives : 1.0, positives > 0 ? hits / positives : 1.0});
  }
  return curve;
}

double ndcg(std::span<const double> relevance, std::int64_t k) {
  const auto gain = [k](std::span<const double> ranked) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < std::min<std::int64_t>(k, std::ssize(ranked)); ++n)
      sum += (std::exp2(ranked[n]) - 1.0) / std::log2(static_cast<double>(n) + 2.0);
    return sum;
  };
  std::vector<double> ideal(relevance.begin(), relevance.end());
  std::sort(ideal.rbegin(), ideal.rend());
  const double best = gain(ideal);
  return best > 0.0 ? gain(relevance) / best : kNaN;
}

double macro_f1(std::span<const int> truth, std::span<const int> predicted) {
  HEADLIGHT_CHECK(truth.size() == predicted.size());
  struct Count {
    double hit = 0, wrong = 0;  // wrong = false positives + false negatives
  };
  std::map<int, Count> classes;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] == predicted[i]) {
      ++classes[truth[i]].hit;
    } else {
      ++classes[truth[i]].wrong;
      ++classes[predicted[i]].wrong;
    }
  }
  if (classes.empty()) return kNaN;
  double sum = 0.0;
  for (const auto& [id, count] : classes) sum += 2.0 * count.hit / (2.0 * count.hit + count.wrong);
  return sum / static_cast<double>(classes.size());
}

Interval bootstrap_mean(std::span<const double> values, std::uint64_t seed, int rounds) {
  if (values.empty()) return {kNaN, kNaN, kNaN};
  const auto n = std::ssize(values);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(n);
  Random random(seed);
  std::vector<double> means;
  for (int r = 0; r < rounds; ++r) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; ++i) sum += values[random.below(n)];
    means.push_back(sum / static_cast<double>(n));
  }
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) { return means[std::llround(share * static_cast<double>(rounds - 1))]; };
  return {mean, at(0.025), at(0.975)};
}

std::vector<std::int64_t> largest(std::span<const double> values, std::int64_t k) {
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < std::ssize(values); ++i)
    if (!std::isnan(values[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return values[a] > values[b]; });
  order.resize(std::min<std::size_t>(order.size(), std::max<std::int64_t>(k, 0)));
  return order;
}

}  // namespace headlight::analysis
