#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "analysis/evaluation/option_scores.h"
#include "analysis/evaluation/paired_statistics.h"

namespace headlight::analysis {

/// Items of several tasks, mixed, each with the form its options are compared in.
struct ItemPool {
  std::vector<PreparedItem> items;
  std::vector<ScoreForm> forms;

  void add(const Task& task, std::span<const PreparedItem> more);
};

enum class Objective {
  accuracy,  ///< share of right answers; equal ones by margin
  margin,    ///< mean margin of the gold option: less noisy
  entropy,   ///< mean entropy of the next token, to be small: needs no labels
};
std::string_view to_string(Objective objective);

/// What a candidate did to the items of a pool.
struct CandidateScore {
  double accuracy = 0, margin = 0, entropy = 0, chosen_entropy = 0;
  double gain = 0;     ///< of the objective over the unchanged model, positive = better
  double gain_se = 0;  ///< standard error of the paired mean
  McNemar test;
};

/// Does a piece of work, or remembers its result from an earlier run.
using Remember = std::function<Json(const std::string& key, const std::function<Json()>& work)>;

/// Scores candidates against the unchanged model.
class CandidateScorer {
 public:
  CandidateScorer(ModelRunner& runner, const ItemPool& pool, Objective objective, Remember remember,
                  std::stop_token stop);

  /// @param stage  names the work: a stage is always asked for with the same candidates
  std::vector<CandidateScore> score(const std::string& stage, std::span<const intervention::Stack> candidates);
  CandidateScore base();

  Objective objective() const { return objective_; }

 private:
  struct Answers {  // of all items
    std::vector<double> right, margin, entropy;
    std::vector<std::size_t> chosen;
  };
  Json chunk(std::span<const intervention::Stack> candidates, std::size_t begin, std::size_t end) const;
  CandidateScore compare(const Answers& base, const Answers& candidate) const;

  ModelRunner& runner_;
  const ItemPool& pool_;
  Objective objective_;
  Remember remember_;
  std::stop_token stop_;
  std::vector<std::pair<std::size_t, std::size_t>> chunks_;
};

struct CalibrationOptions {
  std::size_t best_layers = 5;  ///< whose heads are tried one by one
};

struct CalibrationResult {
  bool found = false;  ///< something is better than the unchanged model
  intervention::Intervention entry;
  CandidateScore score;          ///< of the entry, on the items it was chosen on
  Json stages = Json::object();  ///< every candidate with its numbers
  std::vector<std::string> warnings;
};

/// Which sinks to calibrate: layers 2 to L - 2 one by one with beta 0.4, then the heads of the best layers one by one;
/// heads that gain are kept, and beta is chosen for all of them.
/// @see Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training through
///      Attention Calibration
CalibrationResult calibrate_act(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                const CalibrationOptions& options);

/// Layers, then heads of those that react most, with gamma 2: up-effective heads gain more than a standard error,
/// down-effective ones lose more. The larger class gets one gamma, out of 13 from 0.1 to 10.
/// With the objective entropy all heads get the gamma of least entropy whose answers are not all the same: their
/// entropy must be half of the unchanged model's at least.
/// @see ZeroTuning: Unlocking the Initial Token's Power to Enhance Large Language Models Without Training
CalibrationResult calibrate_zero_tuning(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                        const CalibrationOptions& options);

/// Steering towards "{evidence}": layers with alpha 0.01, then heads of the best layers; of their ranking the first
/// quarter, half or all, with alpha out of 0.01, 0.05, 0.2.
/// @see Tell Your Model Where to Attend: Post-hoc Attention Steering for LLMs; Model Tells Itself Where to Attend:
///      Faithfulness Meets Automatic Attention Steering
CalibrationResult calibrate_pasta(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                  const CalibrationOptions& options);

/// tau out of 9 from 0.5 to 2, for all heads; and for the layers that gain most by it alone.
CalibrationResult calibrate_temperature(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                        const CalibrationOptions& options);

/// `count` values from low to high, equally far apart in their logarithm; 1 exactly where it falls among them.
std::vector<double> log_grid(double low, double high, std::size_t count);

}  // namespace headlight::analysis
