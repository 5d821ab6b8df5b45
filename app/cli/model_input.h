#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/cli/invocation.h"
#include "core/capture/capture_sink.h"
#include "core/engine/engine.h"

namespace headlight::cli {

/// Options of every verb that runs a model.
struct ModelOptions {
  std::string model;
  std::string device = "auto", dtype = "auto", kv_dtype = "f32", act_quant = "none";
  std::string pre_tokenizer, gemma_embed_scale = "f32";
  int threads = 0;
  std::int64_t sliding_window = -1;
  bool no_mmap = false, allow_nonfinite = false;
  std::vector<std::string> interventions;
  bool takes_interventions = false;  ///< this verb can run with them
};
void add_model_options(CLI::App& app, ModelOptions& options, bool required = true);

/// Options that say what the model reads.
struct PromptOptions {
  std::string prompt, prompt_file, chat_file, token_ids, corpus, image, pixel_values;
  std::int64_t max_tokens = 0;
  bool no_special = false;
};
void add_prompt_options(CLI::App& app, PromptOptions& options, bool with_corpus);

/// Opens the file for its header, config and tokenizer. @error as formats::open_model(); unsupported devices and dtypes
formats::ModelFile open_model_file(const ModelOptions& options, bool load_weights = true);
std::unique_ptr<engine::Engine> load_engine(const ModelOptions& options);
engine::EngineOptions engine_options(const ModelOptions& options);
/// Program, options and files that every number of a run depends on: the identity of a journal.
Json model_identity(const engine::Engine& engine, const ModelOptions& options);

/// The prompt or prompts, tokenised with spans; every record has at least one token.
/// @error invalid_argument (none or several sources, "nothing to evaluate"), bad_format naming the line of a corpus
std::vector<capture::RecordHeader> read_prompts(Invocation& invocation, const formats::ModelFile& model,
                                                const PromptOptions& options);

/// Throws invalid_argument when the output is a weight file or the file of the prompt.
void check_output_is_new(const std::string& output, const formats::ModelFile& model, const PromptOptions& prompt);

std::vector<std::int32_t> token_ids_of(const capture::RecordHeader& record);

/// Adds the sampling options (--seed --temperature --top-k --top-p).
void add_sampling_options(CLI::App& app, engine::SamplingOptions& options);

}  // namespace headlight::cli
