#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "core/engine/edits.h"
#include "core/engine/engine_impl.h"

namespace headlight::engine {

/// Calls body(first_row, rows) for consecutive blocks of at most kRowBlock rows.
template <class Body>
void for_row_blocks(std::int64_t n, const Body& body) {
  for (std::int64_t first = 0; first < n; first += kRowBlock) body(first, std::min(kRowBlock, n - first));
}

/// Throws when a row of x [n][width] holds NaN or Inf; row 0 is token `start`. @error failed, naming `what()`
void check_finite(const Engine::Impl& engine, const float* x, std::int64_t n, std::int64_t width, std::int64_t start,
                  const std::function<std::string()>& what);

/// Consecutive rows of one sequence.
struct RowRun {
  std::int64_t rows = 0;
  std::int64_t position = 0;  ///< in the sequence, of the first one
  std::int64_t length = 0;    ///< of the sequence, which rotary frequencies may depend on
};

/// The steps of a forward pass that treat every row by itself: all but attention. The rows may belong to one sequence
/// or to several; they go through the weights together. Buffers are those of the workspace.
class RowSteps {
 public:
  RowSteps(const Engine::Impl& engine, Workspace& workspace, std::span<const RowRun> runs, std::stop_token stop);

  /// Interventions at work on the sequences from now on, one for each run; empty = none. Steps of a row are applied by
  /// the functions below; those that happen in attention are left to the caller.
  void set_edits(std::span<Edits* const> edits_r) { edits_r_.assign(edits_r.begin(), edits_r.end()); }

  void embed(std::span<const std::int32_t> ids);
  /// The residual stream is about to enter a layer.
  void enter_layer(int layer_number);
  void project_qkv(const LayerWeights& layer);
  void rotate(int layer_number, const LayerWeights& layer);
  /// Rounds q, k and v to `dtype`, then k and v to that of the cache.
  void round_operands(DType dtype, DType cache_dtype);
  /// The rest of a layer: attention output into the residual stream, then the feed-forward.
  void finish_layer(int layer_number, const LayerWeights& layer);
  void check(const std::function<std::string()>& what) const;  ///< of the residual stream

  std::int64_t num_rows() const { return n_; }
  std::int64_t q_size() const { return q_size_; }
  std::int64_t kv_size() const { return kv_size_; }
  float *x_id, *q_ihd, *k_igd, *v_igd, *attn_ihd;

 private:
  void prepare_rope();
  void add_attention(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows);
  void add_feed_forward(int number, const LayerWeights& layer, std::int64_t first, std::int64_t rows);
  void change_block(int number, intervention::BlockStep::Block block, std::int64_t first, std::int64_t rows);
  void change_units(int number, std::int64_t first, std::int64_t rows, float* h_if, std::int64_t width);
  bool changes_units(int number) const;
  template <class Body>
  void for_edited(std::int64_t first, std::int64_t rows, const Body& body);

  const Engine::Impl& engine_;
  const formats::ModelSpec& spec_;
  Workspace& workspace_;
  std::stop_token stop_;
  std::vector<RowRun> runs_;
  std::vector<Edits*> edits_r_;  // of each run, or empty
  std::vector<std::int64_t> position_i_;
  std::int64_t n_, d_, q_size_, kv_size_;
  float *norm_id_, *out_id_;
};

}  // namespace headlight::engine
