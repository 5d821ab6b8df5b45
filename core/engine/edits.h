#pragma once

#include <span>

#include "core/engine/engine.h"
#include "core/intervention/program.h"

namespace headlight::engine {

intervention::ModelShape shape_of(const formats::ModelSpec& spec);

/// A stack of interventions at work on one sequence on the CPU: compiled when the length of its prompt is known.
class Edits {
 public:
  Edits(const formats::ModelSpec& spec, std::span<const intervention::Intervention> stack);

  /// A new sequence begins. @error as intervention::compile()
  void begin(std::int64_t num_prompt_tokens);

  /// The outputs of all heads of a layer, n rows from `start`: out_ihd[i * stride + h * head_dim + d].
  void head_outputs(ThreadPool& pool, int layer, std::int64_t start, std::int64_t n, float* out_ihd,
                    std::int64_t stride) const;

 private:
  intervention::ModelShape shape_;
  intervention::Stack stack_;
  intervention::Program program_;
};

}  // namespace headlight::engine
