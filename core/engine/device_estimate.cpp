#include <algorithm>

#include "core/engine/cuda_facts.h"
#include "core/engine/cuda_runner.h"
#include "core/engine/logits.h"
#include "core/engine/row_arrays.h"

namespace headlight::engine {
namespace {

constexpr std::int64_t kNarrow = 2, kWide = 4;  // bytes
constexpr std::int64_t kMatmulWorkspace = 32 << 20;

struct Sizes {
  explicit Sizes(const formats::ModelSpec& spec)
      : d(spec.hidden_size),
        q(std::int64_t{spec.num_heads} * spec.head_dim),
        kv(std::int64_t{spec.num_kv_heads} * spec.head_dim),
        ff(spec.intermediate_size),
        up(spec.intermediate_size * (spec.gated_ffn ? 2 : 1)) {}
  std::int64_t d, q, kv, ff, up;
};

std::int64_t weight_bytes(const formats::ModelSpec& spec) {
  const Sizes s(spec);
  const std::int64_t layer = (s.q + 2 * s.kv) * s.d + s.q * s.d + (s.up + s.ff) * s.d;
  return kNarrow * ((spec.tied_embeddings ? 1 : 2) * spec.vocab_size * s.d + spec.num_layers * layer);
}

std::int64_t activation_bytes(const formats::ModelSpec& spec, std::int64_t rows, bool observed) {
  const Sizes s(spec);
  const std::int64_t block = std::min(rows, kDeviceRowBlock), queries = observed ? CudaFacts::kStagings : 1;
  const std::int64_t whole = rows * ((1 + s.d + spec.rotary_dim) * kWide + (queries + 1) * s.q * kNarrow);
  const std::int64_t blocks = block * ((s.d + s.up + s.ff) * kNarrow + std::max(s.q + 2 * s.kv, s.d) * kWide);
  return whole + blocks + spec.vocab_size * kWide + kMatmulWorkspace;
}

std::int64_t statistic_bytes(const formats::ModelSpec& spec, std::int64_t rows, const capture::CapturePlan& plan,
                             bool rows_follow) {
  const int heads = spec.num_heads;
  const std::int64_t edge = plan.overview ? capture::overview_block_edge(rows) : rows;
  const std::int64_t blocks = plan.overview ? (rows + edge - 1) / edge : 0;
  const std::int64_t columns = ColumnLayout{heads, rows, blocks}.size();
  const std::int64_t topk = std::min<std::int64_t>(plan.topk_rows, rows) * heads * (2 * plan.topk + 1);
  const std::int64_t staging = 6 * rows + RowLayout{spec.num_heads, rows, 0}.size() +
                               (2 * spec.num_kv_heads + heads) * rows + (rows_follow ? 0 : columns) + topk;
  const auto recorded = static_cast<std::int64_t>(plan.layers.size());
  const std::int64_t gram = heads * spec.head_dim * std::int64_t{spec.head_dim} * kWide;
  return CudaFacts::kStagings * (staging * kWide + CudaFacts::kMassiveCapacity * 12) +
         (rows_follow ? recorded * columns * kWide : 0) + (recorded + 1) * gram +
         std::min(CudaFacts::kMapElements, plan.topk_rows * heads * rows) * kWide +
         (spec.num_layers + 1) * spec.hidden_size * kWide;
}

}  // namespace

MemoryEstimate estimate_device_memory(const formats::ModelSpec& spec, std::int64_t num_rows,
                                      const capture::CapturePlan* plan, std::int64_t num_generated) {
  const Sizes s(spec);
  MemoryEstimate out;
  out.weights = weight_bytes(spec);
  out.kv_cache = spec.num_layers * num_rows * 2 * s.kv * kNarrow;
  out.activations = activation_bytes(spec, num_rows, plan != nullptr);
  if (plan != nullptr) out.statistics = statistic_bytes(spec, num_rows, *plan, num_generated > 1);
  return out;
}

}  // namespace headlight::engine
