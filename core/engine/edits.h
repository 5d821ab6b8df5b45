#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/engine/engine.h"
#include "core/engine/row_arrays.h"
#include "core/intervention/program.h"

namespace headlight::engine {

intervention::ModelShape shape_of(const formats::ModelSpec& spec);

/// A stack of interventions at work on one sequence on the CPU: compiled when the length of its prompt is known. Keys
/// that steps depend on are found while the prompt runs, and then stay.
class Edits {
 public:
  Edits(const formats::ModelSpec& spec, std::span<const intervention::Intervention> stack);

  /// A new sequence begins. @error as intervention::compile()
  void begin(std::int64_t num_prompt_tokens);

  /// The embeddings of the prompt, x_id [n][hidden_size].
  void embedded(float* x_id) const;

  /// Rows from `start` of the residual stream that enter a layer, x_id [n][hidden_size].
  void residual(int layer, std::int64_t start, std::int64_t n, float* x_id) const;

  /// The rows of the prompt that enter a layer, x_id [n][hidden_size].
  void entering(ThreadPool& pool, int layer, const float* x_id);

  /// Attention of the prompt in a layer is about to run: finds the keys that steps depend on by running it once before,
  /// if there are such steps. `out_ihd` is overwritten.
  void find_keys(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int layer, kernels::AttentionInputs in,
                 float* out_ihd, std::int64_t out_stride);

  bool changes_rows() const;  ///< of any layer
  int first_layer() const;    ///< that is changed or looked at; L = none, 0 where embeddings are changed
  /// [H] what the kernels do to rows of a layer; null = nothing.
  const kernels::RowProgram* rows(int layer) const;

  /// What a block of a layer adds to n rows of the residual stream from `start`, y_id [n][hidden_size].
  void block_output(int layer, intervention::BlockStep::Block block, std::int64_t start, std::int64_t n,
                    float* y_id) const;
  bool changes_units(int layer) const;
  /// Hidden units of the feed-forward of n rows from `start`, h_if [n][width].
  void hidden_units(int layer, std::int64_t start, std::int64_t n, float* h_if, std::int64_t width) const;

  /// The outputs of all heads of a layer, n rows from `start`: out_ihd[i * stride + h * head_dim + d].
  void head_outputs(ThreadPool& pool, int layer, std::int64_t start, std::int64_t n, float* out_ihd,
                    std::int64_t stride) const;

 private:
  intervention::LayerProgram& layer(int number) { return program_.layers[static_cast<std::size_t>(number)]; }
  const intervention::LayerProgram& layer(int number) const {
    return program_.layers[static_cast<std::size_t>(number)];
  }
  void find_sinks(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int layer,
                  const kernels::AttentionInputs& in, float* out_ihd, std::int64_t out_stride);
  void find_gaze(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int layer,
                 const kernels::AttentionInputs& in, float* out_ihd, std::int64_t out_stride);
  void set_runs(int layer, std::span<const intervention::StepRef> steps, std::vector<kernels::KeyRun> runs);

  intervention::ModelShape shape_;
  intervention::Stack stack_;
  intervention::Program program_;
  std::int64_t num_prompt_tokens_ = 0;
  std::vector<std::vector<kernels::RowProgram>> rows_lh_;                   // [L][H]; empty where rows are not changed
  std::vector<std::unique_ptr<const std::vector<kernels::KeyRun>>> found_;  // runs of steps
};

/// Fills the head values of interventions that take them from another sequence, by running that.
/// @error as Session::forward()
void run_sources(const Engine::Impl& engine, intervention::Stack& stack);

}  // namespace headlight::engine
