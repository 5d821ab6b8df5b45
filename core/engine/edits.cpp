#include "core/engine/edits.h"

#include <algorithm>

namespace headlight::engine {

intervention::ModelShape shape_of(const formats::ModelSpec& spec) {
  return {spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim, static_cast<int>(spec.hidden_size)};
}

Edits::Edits(const formats::ModelSpec& spec, std::span<const intervention::Intervention> stack)
    : shape_(shape_of(spec)), stack_(stack.begin(), stack.end()) {}

void Edits::begin(std::int64_t num_prompt_tokens) {
  program_ = intervention::compile(stack_, shape_, {.num_tokens = num_prompt_tokens});
}

void Edits::head_outputs(ThreadPool& pool, int layer, std::int64_t start, std::int64_t n, float* out_ihd,
                         std::int64_t stride) const {
  if (program_.empty()) return;
  const std::int64_t d = shape_.head_dim;
  for (const intervention::HeadOutputStep& step : program_.layers[static_cast<std::size_t>(layer)].outputs) {
    const std::int64_t begin = std::max(start, step.rows.begin);
    std::int64_t end = std::min(start + n, step.rows.end);
    if (step.vector_rows > 0) end = std::min(end, step.vector_rows);
    pool.parallel_for(std::max<std::int64_t>(0, end - begin), [&](std::int64_t r, int) {
      const std::int64_t row = begin + r;
      float* const out = out_ihd + (row - start) * stride + step.head * d;
      const float* const vector = step.vector == nullptr ? nullptr : step.vector + (step.vector_rows > 0 ? row * d : 0);
      for (std::int64_t e = 0; e < d; ++e) out[e] = step.keep * out[e] + (vector ? step.gain * vector[e] : 0.0f);
    });
  }
}

}  // namespace headlight::engine
