#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "analysis/roles/head_samples.h"
#include "analysis/roles/logit_attribution.h"
#include "analysis/roles/mean_qk.h"
#include "analysis/roles/token_data.h"
#include "core/runner.h"

namespace headlight::analysis {

/// A prompt made of an instruction and of data that it is to be applied to.
struct InstructionPrompt {
  std::vector<std::int32_t> ids;
  TokenSpan instruction, data;
};

struct Document {
  std::string domain;  ///< "prose", "code", ...
  std::string text;
};

/// What experiments know beside the model: vocabulary, texts, seed. Without a tokenizer (no codec) they use tokens
/// drawn at random where that makes sense, and are left out where it does not.
struct RoleInputs {
  TokenPool pool;
  TextCodec codec;
  std::optional<TokenNeedle> token_needle;  ///< of models that bring their own; else drawn from the pool
  std::vector<RotaryFrequencies> rotary_l;  ///< [L]
  std::function<InstructionPrompt(const std::string& instruction, const std::string& data)> instruction_prompt;
  std::vector<TextNeedle> needles;
  std::vector<std::int64_t> needle_lengths = {256, 512, 1024, 2048};  ///< tokens of needle prompts, ascending
  std::string haystack;                                               ///< where needles are hidden
  std::vector<Document> documents;                                    ///< what is read
  std::vector<Document> domains;                                      ///< short texts of different kinds
  std::vector<std::string> traces;                                    ///< reasoning written out, sentence by sentence
  std::string instruction;                                            ///< of the injection test
  std::vector<std::string> data_sentences, injected_words;
  /// The model's final norm on one row of the residual stream.
  std::function<std::vector<double>(std::span<const float>)> final_norm;
  /// None where another norm stands between the heads' outputs and the residual stream.
  std::optional<LogitReader> logit_reader;
  std::vector<std::string> names, name_templates;  ///< first names; sentences with {A} and {B} that end before A
  std::uint64_t seed = 0;
};

/// One input of an experiment: a key that is unique in it, and the group it belongs to.
struct ExperimentItem {
  std::string key, group;
};

struct ExperimentContext {
  ModelRunner& runner;
  const RoleInputs& inputs;
  std::stop_token stop;
};

/// A score that an experiment gives every head.
struct ScoreInfo {
  std::string_view id, formula;
  GroupReduce kv = GroupReduce::max;  ///< from query heads to KV heads
};

/// Runs a model on a number of inputs and scores its heads. Each input stands for itself, so that a run can be resumed.
struct Experiment {
  std::string_view id, title, source;
  bool by_default = true;
  std::vector<ScoreInfo> scores;   ///< found in the samples, averaged over them
  std::vector<ScoreInfo> derived;  ///< made of all samples by `derive`
  std::function<Json(const RoleInputs&, const capture::ModelInfo&)> params;  ///< for provenance; may be empty
  /// Empty = cannot be done with this model.
  std::function<std::vector<ExperimentItem>(const RoleInputs&, const capture::ModelInfo&)> items;
  std::function<HeadSample(const ExperimentContext&, std::size_t item)> run;
  std::function<std::vector<HeadValues>(std::span<const HeadSample>, const capture::ModelInfo&)> derive;
};

/// Every experiment, in the order in which a suite runs them.
const std::vector<Experiment>& experiments();

/// "default", "full", or ids separated by commas. @error invalid_argument  unknown; names the closest and all
std::vector<const Experiment*> select_experiments(std::string_view suite);

// Groups of experiments, each in experiment_<group>.cpp.
Experiment repeats_experiment();
Experiment needles_experiment();
Experiment names_experiment();
Experiment text_experiment();
Experiment sparse_experiment();
Experiment tracker_experiment();
Experiment reading_range_experiment();
Experiment receivers_experiment();
Experiment domains_experiment();
Experiment suppression_experiment();
Experiment importance_experiment();
Experiment ablation_experiment();
Experiment streaming_experiment();

}  // namespace headlight::analysis
