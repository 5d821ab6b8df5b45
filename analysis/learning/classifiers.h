#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

namespace headlight::analysis {

/// Labelled examples.
struct Samples {
  std::int64_t num_features = 0;
  std::vector<double> x_sf;  ///< [samples][features]
  std::vector<int> label_s;  ///< class, 0 or 1 for two-class methods

  std::int64_t size() const { return std::ssize(label_s); }
  std::span<const double> row(std::int64_t s) const {
    return {x_sf.data() + s * num_features, static_cast<std::size_t>(num_features)};
  }
  void add(std::span<const double> x_f, int label);
  Samples subset(std::span<const std::int64_t> chosen) const;
};

/// (x - mean) / deviation per feature, population deviation; a constant feature becomes 0.
struct Standardiser {
  std::vector<double> mean_f, deviation_f;

  static Standardiser fit(const Samples& samples);
  Samples apply(const Samples& samples) const;
};

struct Split {
  std::vector<std::int64_t> train, test;  ///< ascending
};
/// Each class is divided separately: round(share * its size) examples go to train.
Split stratified_split(std::span<const int> label_s, double train_share, std::uint64_t seed);

/// Fold number 0..folds-1 of every example; the sizes of a class differ by at most one between folds.
std::vector<int> stratified_folds(std::span<const int> label_s, int folds, std::uint64_t seed);

/// A score per example that never saw the example: `fit_and_score(train, test)` runs once per fold.
using FitAndScore = std::function<std::vector<double>(const Samples& train, const Samples& test)>;
std::vector<double> cross_validate(const Samples& samples, std::span<const int> fold_s, const FitAndScore& run);

struct LogisticOptions {
  double c = 0.05;                 ///< weight of the data against the penalty, > 0
  int max_iterations = 1000;       ///< sweeps over the features
  double tolerance = 1e-6;         ///< largest violation of optimality per example
  bool penalise_intercept = true;  ///< as liblinear does: the intercept is one more feature of value 1
};

struct LogisticModel {
  std::vector<double> weight_f;
  double intercept = 0.0;
  double objective = 0.0;
  int iterations = 0;
  bool converged = false;

  double score(std::span<const double> x_f) const;  ///< w . x + b
};

/// Sparse logistic regression: minimises
///
///     ||w||_1 (+ |b|) + C sum_s ln(1 + exp(-y_s (w . x_s + b))),   y = 2 label - 1
///
/// by cyclic coordinate descent with Newton steps and a line search. Deterministic.
/// @error invalid_argument  fewer than two classes, labels other than 0 and 1
/// @see A Comparison of Optimization Methods and Software for Large-scale L1-regularized Linear Classification
LogisticModel fit_logistic(const Samples& samples, const LogisticOptions& options, std::stop_token stop = {});

enum class Metric { euclidean, manhattan };

/// Class of each test example by its k nearest training examples, weighted by 1 / distance; examples at distance 0
/// decide alone. Ties: the smaller class.
std::vector<int> nearest_neighbours(const Samples& train, const Samples& test, int k, Metric metric);

struct PerceptronOptions {
  int hidden = 128, batch = 1024, epochs = 30;
  double learning_rate = 1e-3;
  std::uint64_t seed = 0;
};

/// x -> hidden -> ReLU -> 2 classes.
struct Perceptron {
  std::int64_t num_features = 0;
  int hidden = 0;
  std::vector<double> weight_if, bias_i;  ///< [hidden][features]
  std::vector<double> weight_ci, bias_c;  ///< [2][hidden]

  double probability(std::span<const double> x_f) const;  ///< of class 1
};

/// Cross entropy by Adam (0.9, 0.999, 1e-8). Every batch draws with replacement, both classes equally often; an epoch
/// draws as many examples as there are. Same seed, same bits.
/// @error invalid_argument  fewer than two classes
Perceptron fit_perceptron(const Samples& samples, const PerceptronOptions& options, std::stop_token stop = {});

}  // namespace headlight::analysis
