#pragma once

#include <cstdint>
#include <span>
#include <stop_token>

#include "core/engine/edits.h"
#include "core/engine/engine_impl.h"
#include "core/engine/kv_cache.h"
#include "core/engine/layer_observer.h"
#include "core/engine/phase_clock.h"

namespace headlight::engine {

/// One layer's attention as it is about to run: the kernel's inputs, where the output goes, and keys and values of the
/// new rows exactly as stored.
struct AttentionCall {
  kernels::AttentionInputs in;
  float* out_ihd = nullptr;
  std::int64_t out_stride = 0;
  const float* k_igd = nullptr;  ///< [num_queries][kv_row_stride]
  const float* v_igd = nullptr;
  std::int64_t kv_row_stride = 0;
};

/// Computes attention in place of the engine's kernels; on the CPU only.
class AttentionHook {
 public:
  virtual ~AttentionHook() = default;
  /// Must compute call.out_ihd.
  virtual void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                         const AttentionCall& call) = 0;
};

struct ForwardRequest {
  std::span<const std::int32_t> ids = {};
  std::int64_t start = 0;              ///< position of ids[0]; rows before it are in the cache
  int first_layer = 0;                 ///< layers before it are not run; on the CPU only
  const float* entering_id = nullptr;  ///< [n][d] residual stream that enters it, if it is not 0
  std::int64_t num_prompt_tokens = 0;  ///< of the first ids of a sequence, for interventions; 0 = all of them
  LayerObserver* observer = nullptr;
  PhaseClock* clock = nullptr;  ///< required with an observer
  AttentionHook* hook = nullptr;
  Edits* edits = nullptr;            ///< interventions; on the CPU only
  DType operand_dtype = DType::f32;  ///< q, k and v are rounded to it before they are multiplied
  std::string_view phase = "prefill";
  ProgressCallback progress = {};
  std::stop_token stop = {};
};

class LayerFacts;

/// Runs all layers over the given tokens; the cache must have room. Leaves the residual before the final norm in
/// workspace.x_id [n][d].
/// @param facts  what the sequence's observers are told; used with an observer only
/// @error cancelled, failed (NaN or Inf in the residual stream)
void forward_layers(const Engine::Impl& engine, Workspace& workspace, KvCache& cache, LayerFacts& facts,
                    const ForwardRequest& request);

/// Attention of one layer over what the cache holds: n rows from `start`, queries [n][q_stride].
kernels::AttentionInputs attention_inputs(const Engine::Impl& engine, const KvCache& cache, int layer,
                                          std::int64_t start, std::int64_t n, const float* q_ihd,
                                          std::int64_t q_stride);

/// Logits of rows x_id [n][d] of the residual before the final norm, [n][V], soft-capped as the model says.
/// @param start  position of the first row, for messages
/// @error failed (NaN or Inf in the logits)
void output_logits(const Engine::Impl& engine, Workspace& workspace, const float* x_id, std::int64_t n,
                   std::int64_t start, float* logits);

/// Throws Error{cancelled} when a stop was requested.
void throw_if_stopped(const std::stop_token& stop);

}  // namespace headlight::engine
