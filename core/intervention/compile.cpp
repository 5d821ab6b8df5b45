#include <algorithm>

#include "core/intervention/method.h"

namespace headlight::intervention {

Program compile(std::span<const Intervention> stack, const ModelShape& shape, const PromptFacts& prompt) {
  Program program;
  program.layers.resize(static_cast<std::size_t>(shape.num_layers));
  for (const Intervention& intervention : stack) {
    if (!intervention.enabled) continue;
    const Resolved resolved(intervention, shape, prompt);
    if (resolved.rows().size() > 0 && !resolved.heads().empty()) resolved.method().compile(resolved, program);
  }
  if (std::all_of(program.layers.begin(), program.layers.end(), [](const auto& layer) { return layer.empty(); }))
    program.layers.clear();
  return program;
}

}  // namespace headlight::intervention
