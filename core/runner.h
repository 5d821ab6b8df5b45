#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_sink.h"
#include "core/capture/memory_capture.h"
#include "core/intervention/intervention.h"

namespace headlight {

/// A token whose log-probability is wanted: ln p(id | tokens 0..row).
struct TokenTarget {
  std::int64_t row = 0;  ///< of the prompt
  std::int32_t id = 0;
};

/// Targets of rows [first, last): the tokens that really follow. @param last  -1 = all that have a successor
std::vector<TokenTarget> next_token_targets(std::span<const std::int32_t> ids, std::int64_t first = 0,
                                            std::int64_t last = -1);

/// One sequence to run.
struct RunInput {
  std::vector<std::int32_t> ids;
  std::int64_t generate = 0;             ///< new tokens after the prompt, greedy; stops after an end of sequence
  std::vector<TokenTarget> targets;      ///< rows ascending
  std::vector<std::int64_t> logit_rows;  ///< rows of the prompt whose logits are wanted, ascending; -1 = the last
};

/// What to do with all sequences of a run.
struct RunRequest {
  std::vector<RunInput> inputs;
  intervention::Stack interventions;
  bool base_statistics = false;  ///< where they change rows: also record the same q and k without them
  /// What to record of every input; no layers = no attention, only hidden-state facts. See plan_of_all_heads().
  capture::CapturePlan plan;
  /// A run of the same inputs with the same plan but without interventions, whose plan keeps hidden states: layers
  /// before the first changed one are taken from it, and shared with it. The result is the same bit for bit. Null =
  /// none. For prompts without generated tokens, without base_statistics.
  std::shared_ptr<const capture::MemoryCapture> unchanged;
};

struct RunOutput {
  std::vector<float> target_logprob;  ///< as RunInput::targets, nats
  std::vector<float> logits;          ///< [logit_rows][V]
  std::vector<std::int32_t> generated;
  std::vector<float> generated_logprob;
};

struct RunResult {
  std::vector<RunOutput> outputs;                   ///< as RunRequest::inputs
  std::unique_ptr<capture::MemoryCapture> capture;  ///< record r belongs to input r
};

/// A prompt, and what may follow it.
struct ScoreInput {
  std::vector<std::int32_t> ids;
  std::vector<std::vector<std::int32_t>> continuations;  ///< of at least one token each
};

/// Changes under which all inputs are scored: nothing, one stack for all, or one for each (whose spans differ).
struct ScoreVariant {
  std::vector<intervention::Stack> stacks;
};

struct ScoreOutput {
  std::vector<std::vector<float>> logprob;  ///< of every token of every continuation, nats
  float entropy = 0;                        ///< of the distribution of the first token after the prompt, nats
  float divergence = 0;                     ///< KL(that of the first variant || that of this one), nats
};

/// Runs a model for experiments: what happens to these sequences, with these interventions? Everything stays in memory.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  virtual const capture::ModelInfo& model() const = 0;
  virtual ThreadPool& pool() = 0;

  /// Each input is one forward pass over its whole prompt. Results do not depend on which inputs run together.
  /// Without interventions, or with such that are the identity, they are bit for bit those of the plain model.
  ///
  /// Statistics, top-k entries, hidden states and maps of the capture are those of the changed pass.
  /// @error invalid_argument  a token, row or intervention outside the model; names the input
  /// @error prompt_too_long, unsupported (interventions on a device), cancelled, failed (NaN or Inf)
  virtual RunResult run(const RunRequest& request, std::stop_token stop = {}) = 0;

  /// Log-probabilities of continuations, [variant][input]. Inputs go through the weights together, about 512 tokens at
  /// a time; a prompt is evaluated once for all its continuations. Of several variants each one starts in the first
  /// layer that it changes. So the last bits depend on which inputs are scored together, not on threads or other
  /// variants.
  ///
  /// Interventions see the prompt as prompt and tokens of continuations as generated.
  /// @error invalid_argument  as run(); names the input. prompt_too_long, cancelled, failed (NaN or Inf)
  /// @error unsupported       on a device; rotary frequencies that depend on the length and change behind a prompt
  virtual std::vector<std::vector<ScoreOutput>> score(std::span<const ScoreInput> inputs,
                                                      std::span<const ScoreVariant> variants,
                                                      std::stop_token stop = {}) = 0;
};

}  // namespace headlight
