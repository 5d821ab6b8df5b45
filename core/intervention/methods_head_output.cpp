// Methods that act on the output of a head, o[i] = sum_j A[i,j] v[j], before the output projection.

#include <algorithm>

#include <fmt/format.h>

#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

void add_step(Program& program, HeadId head, const HeadOutputStep& step) {
  program.layers[static_cast<std::size_t>(head.layer)].outputs.push_back(step);
}

/// o' = scale * o
void compile_scale(const Resolved& in, Program& program) {
  for (const HeadId head : in.heads()) {
    HeadOutputStep step;
    step.head = head.head;
    step.rows = in.rows();
    step.keep = static_cast<float>(in.number("scale", head));
    add_step(program, head, step);
  }
}

/// The values given for a head; null when there are none. @error invalid_argument  not whole vectors
const std::vector<float>* values_of(const Resolved& in, HeadId head) {
  const auto& all = in.source().inputs.head_values;
  const auto found = std::find_if(all.begin(), all.end(), [&](const HeadValues& entry) { return entry.head == head; });
  if (found == all.end()) return nullptr;
  const auto d = static_cast<std::size_t>(in.shape().head_dim);
  if (found->values.empty() || found->values.size() % d != 0)
    in.refuse("inputs.head_values", fmt::format("expected vectors of {} numbers for head L{}H{}, found {} numbers", d,
                                                head.layer, head.head, found->values.size()));
  return &found->values;
}

/// o' = (1 - mix) o + mix * vector
void compile_mean(const Resolved& in, Program& program) {
  for (const HeadId head : in.heads()) {
    const std::vector<float>* values = values_of(in, head);
    if (values == nullptr)
      in.refuse("inputs.head_values", fmt::format("there is no vector for head L{}H{}", head.layer, head.head));
    const double mix = in.number("mix", head);
    const auto kept = std::make_shared<const std::vector<float>>(*values);
    HeadOutputStep step;
    step.head = head.head;
    step.rows = in.rows();
    step.keep = static_cast<float>(1.0 - mix);
    step.gain = static_cast<float>(mix);
    step.vector = kept->data();
    const auto rows = static_cast<std::int64_t>(kept->size()) / in.shape().head_dim;
    step.vector_rows = rows > 1 ? rows : 0;
    program.storage.push_back(kept);
    add_step(program, head, step);
  }
}

}  // namespace

std::vector<Method> head_output_methods() {
  std::vector<Method> out;
  out.push_back({.id = "head-scale",
                 .title = "Head scaling and knock-out",
                 .formula = "o' = scale * o; 0 = the head is knocked out",
                 .source = "Are Sixteen Heads Really Better than One?",
                 .hook = "head output",
                 .parameters = {{.name = "scale",
                                 .fallback = 1.0,
                                 .low = -1.0,
                                 .high = 3.0,
                                 .logarithmic = false,
                                 .unit = "1",
                                 .identity = 1.0,
                                 .per_head = true,
                                 .choices = {},
                                 .doc = "Factor of the head's output."}},
                 .compile = compile_scale});
  out.push_back({.id = "mean-ablation",
                 .title = "Mean ablation",
                 .formula = "o' = (1 - mix) o + mix * mean",
                 .source = "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small",
                 .hook = "head output",
                 .parameters = {{.name = "mix",
                                 .fallback = 1.0,
                                 .low = 0.0,
                                 .high = 1.0,
                                 .logarithmic = false,
                                 .unit = "1",
                                 .identity = 0.0,
                                 .per_head = true,
                                 .choices = {},
                                 .doc = "Share of the mean in the new output."}},
                 .compile = compile_mean});
  return out;
}

}  // namespace headlight::intervention
