// Methods that act on the output of a head, o[i] = sum_j A[i,j] v[j], before the output projection.

#include <algorithm>

#include <fmt/format.h>

#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

HeadOutputStep step_on(const Resolved& in, HeadId head, double keep) {
  HeadOutputStep step;
  step.head = head.head;
  step.rows = in.rows();
  step.keep = static_cast<float>(keep);
  return step;
}

/// o' = scale * o
void compile_scale(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads()) builder.add(head, step_on(in, head, in.number("scale", head)));
}

/// o' = (1 - mix) o + mix * vector
void compile_replacement(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads()) {
    const std::vector<float>& values = in.head_values(head);
    const auto rows = static_cast<std::int64_t>(values.size()) / in.shape().head_dim;
    if (in.method().needs_source && rows != in.prompt().num_tokens)
      in.refuse("inputs.source_ids",
                fmt::format("activations of {} rows do not fit a prompt of {} tokens; both must be "
                            "equally long",
                            rows, in.prompt().num_tokens));
    const double mix = in.number("mix", head);
    HeadOutputStep step = step_on(in, head, 1.0 - mix);
    step.gain = static_cast<float>(mix);
    step.vector = builder.keep(values);
    step.vector_rows = in.method().needs_source || rows > 1 ? rows : 0;
    builder.add(head, step);
  }
}

/// o' = o + alpha * vector
void compile_steering(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads()) {
    const std::vector<float>& values = in.head_values(head);
    HeadOutputStep step = step_on(in, head, 1.0);
    step.gain = static_cast<float>(in.number("alpha", head));
    step.vector = builder.keep(values);
    const auto rows = static_cast<std::int64_t>(values.size()) / in.shape().head_dim;
    step.vector_rows = rows > 1 ? rows : 0;
    builder.add(head, step);
  }
}

}  // namespace

std::vector<Method> head_output_methods() {
  const Parameter mix = number_parameter("mix", 1.0, 0.0, 1.0, 0.0, "Share of the other vector in the new output.");
  return {
      {.id = "head-scale",
       .title = "Head scaling and knock-out",
       .formula = "o' = scale * o; 0 knocks the head out",
       .source = "Are Sixteen Heads Really Better than One?",
       .hook = "head output",
       .parameters = {number_parameter("scale", 1.0, -1.0, 3.0, 1.0, "Factor of the head's output.")},
       .compile = compile_scale},
      {.id = "mean-ablation",
       .title = "Mean ablation",
       .formula = "o' = (1 - mix) o + mix * mean, mean from inputs.head_values",
       .source = "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small",
       .hook = "head output",
       .parameters = {mix},
       .compile = compile_replacement},
      {.id = "activation-patching",
       .title = "Activation patching",
       .formula = "o'[i] = (1 - mix) o[i] + mix * o_source[i] on the rows of the prompt",
       .source = "Locating and Editing Factual Associations in GPT",
       .hook = "head output",
       .parameters = {mix},
       .compile = compile_replacement,
       .needs_source = true},
      {.id = "head-steering",
       .title = "Head steering vectors",
       .formula = "o' = o + alpha * vector, vector from inputs.head_values",
       .source = "Inference-Time Intervention: Eliciting Truthful Answers from a Language Model",
       .hook = "head output",
       .parameters = {number_parameter("alpha", 1.0, -20.0, 20.0, 0.0, "Multiple of the vector that is added.")},
       .compile = compile_steering},
  };
}

}  // namespace headlight::intervention
