#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/thread_pool.h"
#include "core/capture/capture_sink.h"
#include "core/capture/capture_view.h"
#include "core/formats/model_file.h"
#include "core/intervention/contrast.h"
#include "core/intervention/intervention.h"

namespace headlight::engine {

enum class ActivationQuant { none, q8 };

struct EngineOptions {
  int threads = 0;              ///< 0 = all this process may use
  DType kv_dtype = DType::f32;  ///< f32 or bf16; on CUDA that of the operands
  ActivationQuant act_quant = ActivationQuant::none;
  int cuda_device = -1;                      ///< index of the device that computes; -1 = the CPU
  DType cuda_dtype = DType::bf16;            ///< there: of weights, operands and the KV cache; bf16 or f16
  bool gemma_scale_in_weight_dtype = false;  ///< round sqrt(hidden_size) to bf16 as bf16 checkpoints do
};

/// Where a run stands; called from the run's thread at most once per layer or decoded token.
struct Progress {
  std::string_view phase;            ///< "prefill", "decode", "record"
  std::int64_t done = 0, total = 0;  ///< layers, tokens or records
  std::int64_t tokens_done = 0;      ///< prompt and generated tokens so far (for the rate)
};
using ProgressCallback = std::function<void(const Progress&)>;

/// Greedy when temperature is 0; otherwise temperature, then top-k, then top-p, drawn with a counter-based generator
/// keyed by (seed, record, step): independent of threads and batch order. Ties go to the smaller id.
struct SamplingOptions {
  float temperature = 0.0f;
  int top_k = 0;       ///< 0 = off
  float top_p = 1.0f;  ///< 1 = off
  std::int64_t seed = 0;
};

struct GeneratedToken {
  std::int32_t id = 0;
  float logprob = 0.0f;  ///< natural log, under the unmodified distribution
  float entropy = 0.0f;  ///< nats of that distribution
};

/// A model ready to run. On the CPU weights stay in the file's form (mapped); on CUDA they are copied in 16 bits.
/// Everything else is per Session.
/// Immutable after construction; sessions of one engine share its thread pool and must not run at the same time.
class Engine {
 public:
  /// @error bad_format (missing tensor, wrong shape), unsupported (also: no such device), out_of_memory
  Engine(formats::ModelFile model, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const formats::ModelFile& model() const;
  const formats::ModelSpec& spec() const { return model().spec; }
  const EngineOptions& options() const;
  ThreadPool& pool() const;
  std::string device_name() const;  ///< "cpu", or the name of the GPU
  DType compute_dtype() const;      ///< of activations that enter products: f32 on the CPU
  DType kv_dtype() const;           ///< of stored keys and values

  /// Facts for the header of a capture (without file hashes: those cost a read of the file).
  capture::ModelInfo model_info() const;
  /// Layer l's attention parameters (scale, soft cap, window, learned sinks).
  capture::LayerParameters layer_parameters(int layer) const;

  struct Impl;
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// A KV cache and the position in it. Grows as needed up to the model's context.
class Session {
 public:
  /// @param interventions  act on every sequence from its first token on; the first forward() is its prompt
  /// @error unsupported  interventions on a device
  explicit Session(Engine& engine, std::span<const intervention::Intervention> interventions = {});
  ~Session();

  /// Runs the tokens after what is already in the cache. Fills logits of the last token, or of all given tokens.
  /// Where rotary frequencies depend on the length (longrope beyond its original context, dynamic NTK) everything is
  /// evaluated again; a stop or a failure in the middle of that leaves an empty session. Otherwise an error leaves it
  /// as it was.
  /// @param logits  [V] or [ids.size()][V]; empty = not computed
  /// @error invalid_argument (id outside the vocabulary), prompt_too_long (with both numbers), cancelled,
  ///        failed (NaN or Inf appeared: layer, token, tensor, count)
  void forward(std::span<const std::int32_t> ids, std::span<float> logits, const ProgressCallback& progress = {},
               std::stop_token stop = {});

  std::int64_t position() const;
  void reset();

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Generates up to `max_new_tokens` after the prompt; stops after an end-of-sequence id (which is returned too).
/// @param on_token  called for each new token; may be empty
/// @param contrast  branches that run beside the sequence, whose logits are combined with its own; null = none
std::vector<GeneratedToken> generate(Engine& engine, std::span<const std::int32_t> prompt, std::int64_t max_new_tokens,
                                     const SamplingOptions& sampling, std::uint64_t record = 0,
                                     const std::function<void(const GeneratedToken&)>& on_token = {},
                                     std::stop_token stop = {},
                                     std::span<const intervention::Intervention> interventions = {},
                                     const intervention::Contrast* contrast = nullptr);

/// One input of a capture.
struct CaptureInput {
  capture::RecordHeader header;  ///< tokens, text, segments; `layers`, num_rows and num_prompt_tokens are filled here
  std::int64_t generate = 0;     ///< new tokens to generate after the prompt
  intervention::Stack interventions = {};  ///< of this record, after those of the run
};

/// Fills logits [n][V] of rows [first, first + n) of a prompt.
using LogitsOfRows = std::function<void(std::int64_t first, std::int64_t n, float* logits)>;

/// What a capture does besides recording.
struct CaptureExtras {
  std::span<const intervention::Intervention> interventions;
  /// Called when a prompt was evaluated, before anything is generated.
  std::function<void(std::size_t record, const LogitsOfRows& logits)> prompt_done;
  /// Where interventions change rows: record the statistics of the same q and k without them too (attention of the
  /// changed layers runs twice).
  bool base_statistics = false;
  bool skip_failures = true;  ///< false: a failing record of a corpus ends the run
  /// A capture of the same inputs without interventions that kept the residual states: layers before the first one that
  /// is changed are not run and not written. For prompts without generated tokens, without base_statistics.
  const capture::CaptureView* unchanged = nullptr;
  /// Called when a record has begun whose layers before `first_layer` will be missing.
  std::function<void(std::int64_t record, int first_layer)> layers_skipped = {};
};

/// Runs inputs and streams everything the plan asks for into the sink, layer by layer: whole-prompt prefill, then
/// decode rows stitched below. Stopping after complete layers or rows leaves a partial but valid capture: end_record
/// and finish(false) are called, then Error{cancelled} is thrown. A failing record of a corpus is skipped and counted.
/// @return number of records that failed
std::int64_t run_capture(Engine& engine, const std::vector<CaptureInput>& inputs, const capture::CaptureHeader& header,
                         const SamplingOptions& sampling, capture::CaptureSink& sink,
                         const ProgressCallback& progress = {}, std::stop_token stop = {},
                         const CaptureExtras& extras = {});

/// Memory a run will need where it computes, per part: weights, KV cache, activations, statistics.
struct MemoryEstimate {
  std::int64_t weights = 0, kv_cache = 0, activations = 0, statistics = 0;
  std::int64_t total() const { return weights + kv_cache + activations + statistics; }
};

/// Of the device where options name one (without what the driver takes for itself), else of the host.
/// @param num_rows       prompt and generated rows
/// @param plan           null = no capture
/// @param num_generated  new tokens of a capture; one that generates nothing keeps the KV cache of a single layer
MemoryEstimate estimate_memory(const formats::ModelSpec& spec, std::uint64_t weight_bytes, const EngineOptions& options,
                               std::int64_t num_rows, const capture::CapturePlan* plan, std::int64_t num_generated = 0);

}  // namespace headlight::engine
