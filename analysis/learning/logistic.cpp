#include <algorithm>
#include <cmath>

#include "analysis/learning/classifiers.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

// ln(1 + exp(-margin)) without overflow.
double log_loss(double margin) {
  return margin > 0.0 ? std::log1p(std::exp(-margin)) : -margin + std::log1p(std::exp(margin));
}

// One problem: columns of features (the intercept as a last column of ones), margins kept up to date.
struct Problem {
  std::int64_t num_samples, num_columns;
  std::vector<double> x_fs;  // [columns][samples], times y
  std::vector<double> penalty_f, weight_f, margin_s;
  double c;

  Problem(const Samples& samples, const LogisticOptions& options)
      : num_samples(samples.size()), num_columns(samples.num_features + 1), c(options.c) {
    x_fs.resize(num_columns * num_samples);
    for (std::int64_t s = 0; s < num_samples; ++s) {
      const double y = samples.label_s[s] == 1 ? 1.0 : -1.0;
      for (std::int64_t f = 0; f + 1 < num_columns; ++f) x_fs[f * num_samples + s] = y * samples.row(s)[f];
      x_fs[(num_columns - 1) * num_samples + s] = y;
    }
    penalty_f.assign(num_columns, 1.0);
    if (!options.penalise_intercept) penalty_f.back() = 0.0;
    weight_f.assign(num_columns, 0.0);
    margin_s.assign(num_samples, 0.0);
  }

  double objective() const {
    double sum = 0.0;
    for (std::int64_t f = 0; f < num_columns; ++f) sum += penalty_f[f] * std::abs(weight_f[f]);
    for (const double margin : margin_s) sum += c * log_loss(margin);
    return sum;
  }

  // Change of the data term when column f moves by `step`.
  double loss_change(const double* x_s, double step) const {
    double change = 0.0;
    for (std::int64_t s = 0; s < num_samples; ++s)
      change += log_loss(margin_s[s] + step * x_s[s]) - log_loss(margin_s[s]);
    return c * change;
  }

  // One coordinate: Newton direction of the penalised problem, then halved until the objective falls enough. Returns
  // how far the coordinate was from optimal.
  double improve(std::int64_t f) {
    const double* x_s = x_fs.data() + f * num_samples;
    double gradient = 0.0, curvature = 1e-12;
    for (std::int64_t s = 0; s < num_samples; ++s) {
      const double miss = 1.0 / (1.0 + std::exp(margin_s[s]));
      gradient -= c * x_s[s] * miss;
      curvature += c * x_s[s] * x_s[s] * miss * (1.0 - miss);
    }
    const double w = weight_f[f], penalty = penalty_f[f];
    const double up = gradient + penalty, down = gradient - penalty;
    const double violation = w > 0.0 ? std::abs(up) : w < 0.0 ? std::abs(down) : std::max({0.0, -up, down});
    if (violation == 0.0) return 0.0;
    const double direction = up <= curvature * w ? -up / curvature : down >= curvature * w ? -down / curvature : -w;
    const double expected = gradient * direction + penalty * (std::abs(w + direction) - std::abs(w));
    double step = 1.0;
    for (int halving = 0; halving < 30; ++halving, step *= 0.5) {
      const double change =
          loss_change(x_s, step * direction) + penalty * (std::abs(w + step * direction) - std::abs(w));
      if (change <= 0.01 * step * expected) break;
    }
    weight_f[f] = w + step * direction;
    for (std::int64_t s = 0; s < num_samples; ++s) margin_s[s] += step * direction * x_s[s];
    return violation;
  }
};

}  // namespace

double LogisticModel::score(std::span<const double> x_f) const {
  HEADLIGHT_CHECK(x_f.size() == weight_f.size());
  double sum = intercept;
  for (std::size_t f = 0; f < weight_f.size(); ++f) sum += weight_f[f] * x_f[f];
  return sum;
}

LogisticModel fit_logistic(const Samples& samples, const LogisticOptions& options, std::stop_token stop) {
  const auto positives = std::count(samples.label_s.begin(), samples.label_s.end(), 1);
  if (std::any_of(samples.label_s.begin(), samples.label_s.end(), [](int y) { return y != 0 && y != 1; }))
    throw Error(Errc::invalid_argument, "logistic regression takes labels 0 and 1");
  if (positives == 0 || positives == samples.size())
    throw Error(Errc::invalid_argument, "logistic regression needs examples of both classes");
  Problem problem(samples, options);
  LogisticModel model;
  while (model.iterations < options.max_iterations && !model.converged) {
    if (stop.stop_requested()) throw Error(Errc::cancelled, "stopped");
    double worst = 0.0;
    for (std::int64_t f = 0; f < problem.num_columns; ++f) worst = std::max(worst, problem.improve(f));
    ++model.iterations;
    model.converged = worst <= options.tolerance * options.c * static_cast<double>(samples.size());
  }
  model.objective = problem.objective();
  model.intercept = problem.weight_f.back();
  model.weight_f.assign(problem.weight_f.begin(), problem.weight_f.end() - 1);
  return model;
}

}  // namespace headlight::analysis
