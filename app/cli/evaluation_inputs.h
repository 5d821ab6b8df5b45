#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "analysis/evaluation/option_scores.h"
#include "app/cli/model_input.h"

namespace headlight::cli {

/// A task of the command line: "topic", "T4:20".
struct TaskChoice {
  const analysis::Task* task = nullptr;
  std::string variant;
};
/// @error invalid_argument  none, an unknown one, or one twice
std::vector<TaskChoice> parse_tasks(const std::vector<std::string>& names);

/// What tasks need besides a model: words, its tokenizer, tokens to draw from, a neutral text.
struct EvaluationInputs {
  analysis::Lexicon lexicon;
  analysis::TaskCodec codec;
  std::optional<std::int32_t> spare_bos;  ///< where the model has a first token that it does not expect
  std::vector<std::int32_t> tokens;       ///< for tasks made of tokens
  std::vector<std::int32_t> text;         ///< of data/text; empty without a tokenizer

  std::vector<analysis::TaskItem> items(const TaskChoice& choice, analysis::Split split, std::size_t count,
                                        std::uint64_t seed) const;
};
/// Holds references to the model. @error not_found, bad_format  of the shipped words and texts
EvaluationInputs make_evaluation_inputs(const formats::ModelFile& model);

/// Options that `eval` and `calibrate` share.
struct TaskOptions {
  ModelOptions model;
  std::vector<std::string> tasks;
  std::string output;
  std::int64_t seed = 0;
  bool force = false, restart = false;
};
void add_task_options(CLI::App& app, TaskOptions& options, const char* group);

/// Loads the model on the CPU: nothing else can be intervened in.
std::unique_ptr<engine::Engine> load_cpu_engine(ModelOptions& options);

/// "model" of the documents.
Json model_json(const capture::ModelInfo& model);

}  // namespace headlight::cli
