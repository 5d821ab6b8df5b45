#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "analysis/learning/classifiers.h"
#include "analysis/learning/ranking.h"

namespace headlight::analysis {

// Probes: yes/no questions read off attention features. Features come from token_spans.h, labels from the records.

struct SatProbeOptions {
  double c = 0.05;           ///< weight of the data in the L1 logistic regression
  double train_share = 0.5;  ///< stratified
  std::uint64_t seed = 0;
  double risk_share = 0.2;  ///< of the test examples, for the risks
};

struct SatProbeResult {
  double auroc = 0.0;            ///< on the test half
  double risk_top = 0.0;         ///< error rate (label 0) among the most confident `risk_share`
  double risk_bottom = 0.0;      ///< among the least confident
  double majority = 0.0;         ///< share of the larger class in the test half: accuracy without looking
  std::vector<double> weight_f;  ///< of standardised features
  std::int64_t train = 0, test = 0;
  bool converged = false;
};

/// SAT Probe: whether a constraint is satisfied, from the attention of the last prompt row to the constraint's tokens,
/// f[l,h] = max_{c in span} A[l,h,T,c]; standardised, L1 logistic regression. Label 1 = the completion was right.
/// @error invalid_argument  fewer than two classes in a half
/// @see Attention Satisfies: A Constraint-Satisfaction Lens on Factual Errors of Language Models
SatProbeResult sat_probe(const Samples& samples, const SatProbeOptions& options, std::stop_token stop = {});

struct HallucinationProbeOptions {
  PerceptronOptions net;
  double train_share = 0.5;
  bool standardise = false;  ///< the released code does not
};
struct HallucinationProbeResult {
  double auroc = 0.0, accuracy = 0.0;
  std::vector<double> saliency_f;  ///< mean |first-layer weight| per feature
  std::int64_t train = 0, test = 0;
};

/// DHCP: hallucination from X[l,h,p] = mean over the last prompt row and generated rows of A[l,h,row,p], p = image
/// tokens; a perceptron with one hidden layer of 128, balanced classes. Label 1 = hallucinated.
/// @see DHCP: Detecting Hallucinations by Cross-modal Attention Pattern in Large Vision-Language Models
HallucinationProbeResult hallucination_probe(const Samples& samples, const HallucinationProbeOptions& options,
                                             std::stop_token stop = {});

struct MechanisticProbeOptions {
  int neighbours = 8;
  Metric metric = Metric::euclidean;  ///< synthetic tasks; text uses manhattan
  int folds = 2;                      ///< synthetic tasks: 2, text: 5
  std::uint64_t seed = 0;
};
struct MechanisticProbeResult {
  double f1 = 0.0;         ///< macro F1 of the probe, out of fold
  double f1_random = 0.0;  ///< the same on features of a random model
  double score = 0.0;      ///< (f1 - f1_random) / (1 - f1_random), at most 1
};

/// MechanisticProbe: whether positions (or statements) take part in the reasoning, from a_j = mean_h A[l,h,last,j] over
/// layers l, by nearest neighbours. `random` holds the same examples seen by a randomly initialised model; without it
/// (no examples) labels are shuffled instead.
/// @see Towards a Mechanistic Interpretation of Multi-Step Reasoning Capabilities of Language Models
MechanisticProbeResult mechanistic_probe(const Samples& samples, const Samples& random,
                                         const MechanisticProbeOptions& options);

/// Entropy of a distribution over n places divided by ln n, in [0, 1]: how undecided a head is about position (or
/// size).
double normalised_entropy(std::span<const double> mass_j);

}  // namespace headlight::analysis
