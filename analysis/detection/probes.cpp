#include "analysis/detection/probes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/learning/random.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

struct Halves {
  Samples train, test;
};

Halves divide(const Samples& samples, double share, std::uint64_t seed, bool standardise) {
  const Split split = stratified_split(samples.label_s, share, seed);
  if (split.train.empty() || split.test.empty())
    throw Error(Errc::invalid_argument, "there are too few examples to train on one part and test on the other");
  Halves halves{samples.subset(split.train), samples.subset(split.test)};
  if (standardise) {
    const auto scale = Standardiser::fit(halves.train);
    halves = {scale.apply(halves.train), scale.apply(halves.test)};
  }
  return halves;
}

// Share of label 0 among the places [begin, end) of the order.
double error_rate(const Samples& samples, std::span<const std::int64_t> order, std::int64_t begin, std::int64_t end) {
  double wrong = 0.0;
  for (std::int64_t n = begin; n < end; ++n) wrong += samples.label_s[order[n]] == 0;
  return wrong / static_cast<double>(std::max<std::int64_t>(end - begin, 1));
}

double out_of_fold_f1(const Samples& samples, const MechanisticProbeOptions& options) {
  const auto fold_s = stratified_folds(samples.label_s, options.folds, options.seed);
  const auto predicted = cross_validate(samples, fold_s, [&](const Samples& train, const Samples& test) {
    const auto classes = nearest_neighbours(train, test, options.neighbours, options.metric);
    return std::vector<double>(classes.begin(), classes.end());
  });
  const std::vector<int> classes(predicted.begin(), predicted.end());
  return macro_f1(samples.label_s, classes);
}

}  // namespace

SatProbeResult sat_probe(const Samples& samples, const SatProbeOptions& options, std::stop_token stop) {
  const Halves halves = divide(samples, options.train_share, options.seed, true);
  const auto model = fit_logistic(halves.train, {.c = options.c}, stop);
  std::vector<double> score_s;
  for (std::int64_t s = 0; s < halves.test.size(); ++s) score_s.push_back(model.score(halves.test.row(s)));
  const auto order = largest(score_s, halves.test.size());
  const auto count =
      std::max<std::int64_t>(1, std::llround(options.risk_share * static_cast<double>(halves.test.size())));
  SatProbeResult out;
  out.auroc = roc_auc(score_s, halves.test.label_s);
  out.risk_top = error_rate(halves.test, order, 0, count);
  out.risk_bottom = error_rate(halves.test, order, halves.test.size() - count, halves.test.size());
  const double wrong = error_rate(halves.test, order, 0, halves.test.size());
  out.majority = std::max(wrong, 1.0 - wrong);
  out.weight_f = model.weight_f;
  out.train = halves.train.size();
  out.test = halves.test.size();
  out.converged = model.converged;
  return out;
}

HallucinationProbeResult hallucination_probe(const Samples& samples, const HallucinationProbeOptions& options,
                                             std::stop_token stop) {
  const Halves halves = divide(samples, options.train_share, options.net.seed, options.standardise);
  const auto net = fit_perceptron(halves.train, options.net, stop);
  std::vector<double> score_s;
  double right = 0.0;
  for (std::int64_t s = 0; s < halves.test.size(); ++s) {
    score_s.push_back(net.probability(halves.test.row(s)));
    right += (score_s.back() > 0.5) == (halves.test.label_s[s] == 1);
  }
  HallucinationProbeResult out;
  out.auroc = roc_auc(score_s, halves.test.label_s);
  out.accuracy = right / static_cast<double>(halves.test.size());
  out.saliency_f.assign(samples.num_features, 0.0);
  for (int i = 0; i < net.hidden; ++i)
    for (std::int64_t f = 0; f < samples.num_features; ++f)
      out.saliency_f[f] += std::abs(net.weight_if[i * samples.num_features + f]) / net.hidden;
  out.train = halves.train.size();
  out.test = halves.test.size();
  return out;
}

MechanisticProbeResult mechanistic_probe(const Samples& samples, const Samples& random,
                                         const MechanisticProbeOptions& options) {
  MechanisticProbeResult out;
  out.f1 = out_of_fold_f1(samples, options);
  Samples baseline = random;
  if (baseline.size() == 0) {
    baseline = samples;
    Random(options.seed).shuffle(baseline.label_s);
  }
  out.f1_random = out_of_fold_f1(baseline, options);
  out.score =
      out.f1_random < 1.0 ? (out.f1 - out.f1_random) / (1.0 - out.f1_random) : std::numeric_limits<double>::quiet_NaN();
  return out;
}

double normalised_entropy(std::span<const double> mass_j) {
  const double sum = std::accumulate(mass_j.begin(), mass_j.end(), 0.0);
  if (mass_j.size() < 2 || !(sum > 0.0)) return std::numeric_limits<double>::quiet_NaN();
  double entropy = 0.0;
  for (const double mass : mass_j)
    if (mass > 0.0) entropy -= mass / sum * std::log(mass / sum);
  return entropy / std::log(static_cast<double>(mass_j.size()));
}

}  // namespace headlight::analysis
