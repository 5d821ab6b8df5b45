#include <algorithm>

#include "base/error.h"
#include "core/engine/capture_probe.h"
#include "core/engine/cuda_runner.h"
#include "core/engine/logit_recorder.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kProcess = 48 << 20;       // code, tokenizer tables and allocator slack beside the arrays
constexpr std::int64_t kPanelElements = 1 << 20;  // dequantised weights per worker, an upper bound for usual widths

std::int64_t activations(const formats::ModelSpec& spec, const EngineOptions& options, std::int64_t rows,
                         bool statistics) {
  const int threads = options.threads > 0 ? options.threads : ThreadPool::available_threads();
  const std::int64_t q = std::int64_t{spec.num_heads} * spec.head_dim,
                     kv = std::int64_t{spec.num_kv_heads} * spec.head_dim;
  const std::int64_t block = std::min(rows, kRowBlock), d = spec.hidden_size;
  std::int64_t elements = rows * (d + 2 * q + 2 * kv + spec.rotary_dim);
  elements += block * (2 * d + 2 * std::int64_t{spec.intermediate_size});
  if (spec.moe.num_experts > 0) elements += block * (2 * d + spec.moe.num_experts);
  elements += spec.vocab_size + std::int64_t{threads} * kPanelElements;
  return elements * kFloat + kProcess +
         static_cast<std::int64_t>(kernels::attention_workspace_bytes(rows, rows, spec.num_heads, spec.num_kv_heads,
                                                                      spec.head_dim, threads, statistics));
}

std::int64_t statistics(const formats::ModelSpec& spec, std::int64_t rows, std::int64_t generated,
                        const capture::CapturePlan& plan) {
  const std::int64_t heads = spec.num_heads, layers = static_cast<std::int64_t>(plan.layers.size());
  const std::int64_t edge = plan.overview ? capture::overview_block_edge(rows) : rows;
  const std::int64_t blocks = plan.overview ? (rows + edge - 1) / edge : 0;
  const std::int64_t columns = heads * 2 * (rows + blocks * blocks) * kFloat;
  const std::int64_t norms = rows * (2 * std::int64_t{spec.num_kv_heads} + heads + 6) * kFloat;
  const std::int64_t gram = heads * spec.head_dim * std::int64_t{spec.head_dim} * kFloat;
  const std::int64_t levels = std::int64_t{spec.num_layers + 1} * spec.hidden_size * kFloat;
  std::int64_t bytes = RowLayout{spec.num_heads, rows, 0}.size() * kFloat + norms + levels;
  bytes += generated > 1 ? layers * (columns + gram) + DecodeProbe::bytes(spec, plan, 0) : columns + gram;
  bytes += (std::int64_t{spec.hidden_size} * heads * spec.head_dim + kRowBlock * heads * spec.head_dim) * kFloat;
  if (plan.logits == capture::LogitsKept::all)
    bytes += 2 * std::min(rows, logit_block_rows(spec.vocab_size)) * spec.vocab_size * kFloat;
  if (plan.level == capture::CaptureLevel::maps) bytes += 32 << 20;
  return bytes;
}

}  // namespace

MemoryEstimate estimate_memory(const formats::ModelSpec& spec, std::uint64_t weight_bytes, const EngineOptions& options,
                               std::int64_t num_rows, const capture::CapturePlan* plan, std::int64_t num_generated) {
  if (options.cuda_device >= 0) return estimate_device_memory(spec, num_rows, plan, num_generated);
  MemoryEstimate out;
  out.weights = static_cast<std::int64_t>(weight_bytes);
  // A capture that generates nothing keeps one layer of the cache at a time.
  const std::int64_t cached_layers = plan != nullptr && num_generated <= 1 ? 1 : spec.num_layers;
  out.kv_cache = cached_layers * num_rows * 2 * spec.num_kv_heads * spec.head_dim *
                 static_cast<std::int64_t>(size_of(options.kv_dtype));
  out.activations = activations(spec, options, num_rows, plan != nullptr);
  if (plan != nullptr) out.statistics = statistics(spec, num_rows, num_generated, *plan);
  return out;
}

}  // namespace headlight::engine
