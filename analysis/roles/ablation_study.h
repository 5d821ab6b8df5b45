#pragma once

#include <string>
#include <vector>

#include "analysis/roles/experiment.h"
#include "base/split_mix.h"
#include "core/heads/head_id.h"

namespace headlight::analysis {

/// The `count` heads with the largest value, ties by (layer, head).
std::vector<heads::HeadId> top_heads(const heads::HeadGrid& grid, std::span<const double> value_lh, std::size_t count);

/// As many heads of every layer as `heads` has there, drawn at random outside `excluded`. What a layer has not
/// enough of is drawn from all layers. Element k stands for heads[k].
/// @error invalid_argument  fewer heads outside `excluded` than asked for
std::vector<heads::HeadId> matched_draw(const heads::HeadGrid& grid, std::span<const heads::HeadId> heads,
                                        const heads::HeadMask& excluded, SplitMix64& random);

/// What a model can still do; higher performance is better, lower loss is better.
struct TaskResult {
  double performance =
      0;            ///< share of the answer's tokens (needles) or of the second half (repeats) that are predicted
  double loss = 0;  ///< needles: nats per token of running text; repeats: nats per token of the second half
};

/// Something to do with some heads removed (their output is 0).
class AblationTask {
 public:
  virtual ~AblationTask() = default;
  virtual TaskResult evaluate(std::span<const heads::HeadId> removed) = 0;
  virtual std::size_t num_samples() const = 0;
  virtual Json describe() const = 0;
};

struct NeedleTaskOptions {
  std::int64_t length = 256;
  std::size_t candidates = 56;    ///< needle prompts that are tried
  std::size_t most_counted = 40;  ///< of those whose answer the whole model finds (recall > 0.5), the first ones
  std::size_t text_windows = 4;   ///< of 256 tokens, for the loss
};
/// Recall of needles that the whole model finds, and loss on running text. `inputs.needles` and `inputs.haystack` must
/// not be those that scores were made of.
std::unique_ptr<AblationTask> make_needle_ablation(const ExperimentContext& context, const NeedleTaskOptions& options);

/// Accuracy and loss on the second half of random tokens that come twice (other draws than those of the scores).
std::unique_ptr<AblationTask> make_repeat_ablation(const ExperimentContext& context, std::size_t samples = 16,
                                                   std::int64_t period = 50);

/// Removing the top heads of a score against removing others.
struct AblationPoint {
  double share = 0;  ///< of all heads
  std::vector<heads::HeadId> top;
  TaskResult with_top;
  std::vector<TaskResult> with_random;
  /// (1 + draws that do no better than without the top heads) / (1 + draws): how unusual the top heads are.
  double rank_p() const;
};
struct AblationStudy {
  TaskResult whole;
  std::vector<AblationPoint> points;
};
struct StudyOptions {
  std::vector<double> shares = {0.01, 0.03, 0.05, 0.10};
  int draws = 20;
  double excluded_share = 0.2;  ///< of the heads with the largest scores are not drawn
  /// After every evaluation, with what is known so far.
  std::function<void(const AblationStudy& study, std::size_t done, std::size_t total)> progress = {};
};
/// The whole model, all top sets, then one draw after the other for every share.
AblationStudy run_ablation_study(AblationTask& task, const heads::HeadGrid& grid, std::span<const double> value_lh,
                                 const StudyOptions& options, std::uint64_t seed, std::stop_token stop);
Json to_json(const AblationStudy& study);

}  // namespace headlight::analysis
