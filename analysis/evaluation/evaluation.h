#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "analysis/evaluation/controls.h"
#include "analysis/evaluation/option_scores.h"
#include "analysis/evaluation/paired_statistics.h"

namespace headlight::analysis {

struct EvaluationOptions {
  Split split = Split::test;
  std::uint64_t seed = 0;
  std::size_t draws = 20;         ///< random head sets
  std::size_t control_items = 0;  ///< items that the random head sets are scored on; 0 = all
  bool controls = true;
};

/// What one arm did on a number of items, by the primary form.
struct ArmSummary {
  std::size_t n = 0;
  double accuracy = 0, accuracy_se = 0;  ///< sqrt(p (1 - p) / n)
  std::size_t ties = 0;                  ///< counted as wrong
  double margin = 0, brier = 0, option_entropy = 0;
  double entropy = 0, divergence = 0;         ///< of the next token
  std::vector<double> chosen, gold_accuracy;  ///< share of answers, and accuracy, by place of the option
  double chosen_entropy = 0;                  ///< of the answers over places, nats; 0 = always the same
};

/// An item's scores under one arm, judged.
std::vector<Verdict> verdicts_of(std::span<const PreparedItem> items, std::span<const OptionScores> scores,
                                 ScoreForm form, std::span<const std::vector<double>> neutral = {});
ArmSummary summarize_arm(std::span<const PreparedItem> items, std::span<const Verdict> verdicts,
                         std::span<const OptionScores> scores);
Json to_json(const ArmSummary& summary);

/// A task as a model is asked it: items, conditions, and the order in which the work is done.
class TaskEvaluation {
 public:
  /// @param stack  what is evaluated; empty = the model as it is
  /// @error as prepare_items(), stack_of_item()
  TaskEvaluation(const Task& task, std::vector<TaskItem> items, const TaskCodec& codec,
                 std::optional<std::int32_t> spare_bos, const intervention::Stack& stack, const heads::HeadGrid& grid,
                 const EvaluationOptions& options);

  const Task& task() const { return task_; }
  std::span<const PreparedItem> items() const { return prepared_; }
  std::size_t num_parts() const { return chunks_.size() + 1; }  ///< the first part is what all items share

  /// One part of the work, as JSON that report() reads again. Parts can be done in any order, but the first one first.
  Json run(ModelRunner& runner, std::size_t part, std::span<const Json> done, std::stop_token stop) const;

  /// Numbers of a finished task: docs/schemas/eval.schema.json, "tasks".
  Json report(std::span<const Json> parts) const;

 private:
  struct Scores {
    std::vector<std::string> ids;
    std::vector<std::vector<OptionScores>> arms;  ///< [arm][item]; shorter for arms that were scored on some only
  };
  Json shared_part(ModelRunner& runner, std::stop_token stop) const;
  Json chunk_part(ModelRunner& runner, std::size_t chunk, const Json& shared, std::stop_token stop) const;
  std::vector<Arm> arms_of(std::size_t first_item, const Json& shared) const;
  Scores gathered(std::span<const Json> parts, std::string_view member) const;
  Json effect(const Scores& scores, std::size_t arm, std::size_t base) const;
  Json templates(const Scores& scores) const;
  Json control_report(const Scores& scores, std::span<const Json> parts) const;

  const Task& task_;
  std::vector<TaskItem> items_;
  std::vector<PreparedItem> prepared_, toggled_;  ///< toggled: with the first token that is not expected, or without
  TaskCodec codec_;
  intervention::Stack stack_;
  heads::HeadGrid grid_;
  EvaluationOptions options_;
  std::vector<std::pair<std::size_t, std::size_t>> chunks_;
  std::vector<intervention::Stack> random_;
  ScoreForm form_;
};

/// False discovery rates over the tasks of an evaluation, into "effect" of each: "q".
void add_false_discovery(Json& tasks);

}  // namespace headlight::analysis
