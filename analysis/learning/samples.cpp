#include <algorithm>
#include <cmath>
#include <map>

#include "analysis/learning/classifiers.h"
#include "analysis/learning/random.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

// Examples of each class, in random order.
std::map<int, std::vector<std::int64_t>> shuffled_classes(std::span<const int> label_s, std::uint64_t seed) {
  std::map<int, std::vector<std::int64_t>> classes;
  for (std::int64_t s = 0; s < std::ssize(label_s); ++s) classes[label_s[s]].push_back(s);
  Random random(seed);
  for (auto& [label, members] : classes) random.shuffle(members);
  return classes;
}

}  // namespace

void Samples::add(std::span<const double> x_f, int label) {
  if (label_s.empty()) num_features = std::ssize(x_f);
  HEADLIGHT_CHECK(std::ssize(x_f) == num_features);
  x_sf.insert(x_sf.end(), x_f.begin(), x_f.end());
  label_s.push_back(label);
}

Samples Samples::subset(std::span<const std::int64_t> chosen) const {
  Samples out;
  out.num_features = num_features;
  for (const std::int64_t s : chosen) out.add(row(s), label_s[s]);
  return out;
}

Standardiser Standardiser::fit(const Samples& samples) {
  Standardiser out;
  const auto n = static_cast<double>(samples.size());
  for (std::int64_t f = 0; f < samples.num_features; ++f) {
    double mean = 0, square = 0;
    for (std::int64_t s = 0; s < samples.size(); ++s) mean += samples.row(s)[f] / n;
    for (std::int64_t s = 0; s < samples.size(); ++s) square += std::pow(samples.row(s)[f] - mean, 2) / n;
    out.mean_f.push_back(mean);
    out.deviation_f.push_back(std::sqrt(square));
  }
  return out;
}

Samples Standardiser::apply(const Samples& samples) const {
  Samples out = samples;
  for (std::int64_t s = 0; s < out.size(); ++s)
    for (std::int64_t f = 0; f < out.num_features; ++f) {
      double& x = out.x_sf[s * out.num_features + f];
      x = deviation_f[f] > 0.0 ? (x - mean_f[f]) / deviation_f[f] : 0.0;
    }
  return out;
}

Split stratified_split(std::span<const int> label_s, double train_share, std::uint64_t seed) {
  Split split;
  for (const auto& [label, members] : shuffled_classes(label_s, seed)) {
    const auto cut = std::llround(train_share * static_cast<double>(members.size()));
    split.train.insert(split.train.end(), members.begin(), members.begin() + cut);
    split.test.insert(split.test.end(), members.begin() + cut, members.end());
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.test.begin(), split.test.end());
  return split;
}

std::vector<int> stratified_folds(std::span<const int> label_s, int folds, std::uint64_t seed) {
  if (folds < 2) throw Error(Errc::invalid_argument, "cross-validation needs at least 2 folds");
  std::vector<int> fold_s(label_s.size());
  int next = 0;  // runs on from class to class, so that folds have equal sizes too
  for (const auto& [label, members] : shuffled_classes(label_s, seed))
    for (const std::int64_t s : members) fold_s[s] = next++ % folds;
  return fold_s;
}

std::vector<double> cross_validate(const Samples& samples, std::span<const int> fold_s, const FitAndScore& run) {
  HEADLIGHT_CHECK(std::ssize(fold_s) == samples.size());
  std::vector<double> score_s(fold_s.size());
  const int folds = fold_s.empty() ? 0 : *std::max_element(fold_s.begin(), fold_s.end()) + 1;
  for (int fold = 0; fold < folds; ++fold) {
    std::vector<std::int64_t> train, test;
    for (std::int64_t s = 0; s < samples.size(); ++s) (fold_s[s] == fold ? test : train).push_back(s);
    const auto scores = run(samples.subset(train), samples.subset(test));
    HEADLIGHT_CHECK(scores.size() == test.size());
    for (std::size_t n = 0; n < test.size(); ++n) score_s[test[n]] = scores[n];
  }
  return score_s;
}

std::vector<int> nearest_neighbours(const Samples& train, const Samples& test, int k, Metric metric) {
  HEADLIGHT_CHECK(train.num_features == test.num_features);
  if (k < 1 || train.size() < k)
    throw Error(Errc::invalid_argument, "there are fewer training examples than neighbours");
  std::vector<int> predicted;
  for (std::int64_t s = 0; s < test.size(); ++s) {
    std::vector<std::pair<double, std::int64_t>> nearest;
    for (std::int64_t t = 0; t < train.size(); ++t) {
      double distance = 0.0;
      for (std::int64_t f = 0; f < train.num_features; ++f) {
        const double gap = test.row(s)[f] - train.row(t)[f];
        distance += metric == Metric::manhattan ? std::abs(gap) : gap * gap;
      }
      nearest.emplace_back(metric == Metric::manhattan ? distance : std::sqrt(distance), t);
    }
    std::partial_sort(nearest.begin(), nearest.begin() + k, nearest.end());
    const bool exact = nearest.front().first == 0.0;
    std::map<int, double> votes;
    for (int n = 0; n < k; ++n) {
      const auto [distance, t] = nearest[n];
      if (exact && distance > 0.0) break;
      votes[train.label_s[t]] += exact ? 1.0 : 1.0 / distance;
    }
    const auto best =
        std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    predicted.push_back(best->first);
  }
  return predicted;
}

}  // namespace headlight::analysis
