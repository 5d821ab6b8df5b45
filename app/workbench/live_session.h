#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "app/workbench/model_host.h"
#include "app/workbench/next_tokens.h"
#include "core/capture/memory_capture.h"
#include "core/intervention/program.h"

namespace headlight::workbench {

/// One forward pass of the prompt.
struct LiveRun {
  std::shared_ptr<const capture::MemoryCapture> capture;  ///< one record: every statistic and map of the pass
  std::vector<float> logits;                              ///< [V] of the last token
  double seconds = 0.0;
};

/// The prompt as the model runs it, and with the stack.
struct LiveResult {
  std::shared_ptr<const LiveRun> base, changed;  ///< the same object when the stack changes nothing
  NextTokens next;
  std::vector<std::string> token_texts;  ///< of next.top
  bool is_changed() const { return base != changed; }
};

/// A prompt under an intervention stack. The pass without interventions is kept and made again only when the prompt
/// changes; a stack that is the identity is not run, so before and after are bit for bit the same. A changed pass
/// starts in the first layer that it changes, where the states of the prompt fit kMostStateBytes; what is before it is
/// shared.
///
/// Both passes are recorded at level replay, the changed one with what its stack did to rows of attention: every tile
/// of either is exact.
class LiveSession {
 public:
  static constexpr int kTopTokens = 10;
  static constexpr std::int64_t kMostStateBytes = std::int64_t{128} << 20;  ///< of each of both passes

  /// @param model  must outlive the session
  explicit LiveSession(ModelHost& model) : model_(model) {}

  /// Runs what is needed. Blocks; may be called from any one thread at a time.
  /// @error invalid_argument (an empty prompt, a stack that does not fit the model: names the intervention),
  ///        prompt_too_long, cancelled, failed
  LiveResult run(const Prompt& prompt, const intervention::Stack& stack, std::stop_token stop = {});

  ModelHost& model() { return model_; }

 private:
  std::shared_ptr<const LiveRun> pass(RunRequest request, std::stop_token stop);
  RunRequest request_for(const std::vector<std::int32_t>& ids) const;

  ModelHost& model_;
  std::vector<std::int32_t> base_ids_;
  std::shared_ptr<const LiveRun> base_;
};

/// Whether what is enabled of a stack leaves a pass as it is. @error invalid_argument  as intervention::compile()
bool changes_nothing(const intervention::Stack& stack, const intervention::ModelShape& model,
                     std::int64_t prompt_tokens);

}  // namespace headlight::workbench
