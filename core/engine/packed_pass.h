#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "core/engine/edits.h"
#include "core/engine/engine_impl.h"
#include "core/engine/kv_cache.h"
#include "core/engine/row_steps.h"
#include "core/runner.h"

namespace headlight::engine {

/// Several prompts with their continuations in one pass: all rows go through the weights together, attention is
/// computed for each prompt by itself. A continuation sees the prompt and its own tokens; its last token is not
/// evaluated.
///
/// Interventions take the prompt as their prompt and rows of continuations as generated rows: what they find (sinks) is
/// found in the prompt.
class PackedPass {
 public:
  /// @error invalid_argument, prompt_too_long, unsupported (rotary frequencies that change behind the prompt)
  PackedPass(const Engine::Impl& engine, Workspace& workspace, std::span<const ScoreInput> inputs,
             std::stop_token stop);

  /// Evaluates the embeddings and layers [0, L). The residual entering each of `kept` layers (ascending; L = the final
  /// one) is kept.
  void run_plain(std::span<const int> kept);
  /// Evaluates layers [first, L) with interventions, one for each input, from the kept residual that enters `first`;
  /// from the embeddings when nothing was kept.
  void run_changed(int first, std::span<Edits> edits);

  /// Rows of the residual before the final norm, [row of out][d]: for each input the last row of its prompt, then the
  /// rows of its continuations in turn.
  std::vector<float> final_rows() const;

  /// Rows that an input takes in a pass.
  static std::int64_t rows_of(const ScoreInput& input);

 private:
  /// Where the rows of an input are.
  struct Place {
    std::int64_t row = 0, slot = 0;   ///< in the pass, and in the cache
    std::int64_t prompt = 0;          ///< tokens of the prompt
    std::size_t num_runs = 0;         ///< of rows: the prompt and the continuations that have any
    std::vector<std::int64_t> tails;  ///< rows of each continuation
  };
  /// What one thread needs to compute attention of an input.
  struct Lane {
    ThreadPool pool{1};
    kernels::AttentionWorkspace attention;
  };

  void lay_out(std::span<const ScoreInput> inputs);
  std::vector<Edits*> edits_of_runs(std::span<Edits> edits) const;
  void run_layer(int number, std::span<Edits> edits);
  void attend(int number, const Place& place, Edits* edits, ThreadPool& pool, kernels::AttentionWorkspace& workspace);
  void attend_rows(int number, const Place& place, std::int64_t row, std::int64_t start, std::int64_t n, Edits* edits,
                   ThreadPool& pool, kernels::AttentionWorkspace& workspace);

  const Engine::Impl& engine_;
  Workspace& workspace_;
  std::stop_token stop_;
  KvCache cache_;
  std::vector<Place> places_;
  std::vector<RowRun> runs_;
  std::vector<std::int32_t> ids_;
  std::unique_ptr<RowSteps> steps_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::pair<int, std::vector<float>>> kept_;
};

}  // namespace headlight::engine
