// Methods that act on scores, or on the keys and values they are made with. Reweighting keys by w_j and renormalising
// is adding ln w_j to their scores, exactly.

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

using kernels::KeyRange;
using kernels::KeyRun;
using kernels::RowOp;
using kernels::RowStep;

std::vector<KeyRun> runs_of(const std::vector<KeyRange>& spans, double value) {
  std::vector<KeyRun> runs;
  for (const KeyRange& span : spans) runs.push_back({span.begin, span.end, static_cast<float>(value)});
  return runs;
}

/// -inf for 0: the key is masked.
double log_weight(double weight) {
  return weight > 0.0 ? std::log(weight) : -std::numeric_limits<double>::infinity();
}

/// s' = tau * s
void compile_temperature(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads()) {
    RowStep step = in.step(RowOp::temperature);
    step.constants[0] = static_cast<float>(in.number("tau", head));
    builder.add(head, step);
  }
}

/// s_0 += ln gamma
void compile_zero_tuning(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads())
    builder.add(head, in.step(RowOp::bias), runs_of(in.spans_or_first(), log_weight(in.number("gamma", head))));
}

/// k_j *= scale for the whole group of query heads that reads the key.
void compile_key_scale(const Resolved& in, Builder& builder) {
  const ModelShape& shape = in.shape();
  const heads::HeadGrid grid{shape.num_layers, shape.num_heads, shape.num_kv_heads};
  HeadId done{-1, -1};  // the KV head that was seen last; heads are ascending
  for (const HeadId head : in.heads()) {
    const HeadId group{head.layer, grid.kv_head(head.head)};
    if (group == done) continue;
    done = group;
    for (int h = 0; h < shape.num_heads; ++h)
      if (grid.kv_head(h) == group.head)
        builder.add({head.layer, h}, in.step(RowOp::scale_keys),
                    runs_of(in.spans_or_first(), in.number("scale", head)));
  }
}

void compile_key_ablation(const Resolved& in, Builder& builder) {
  const std::string kind = in.text("kind");
  for (const HeadId head : in.heads()) {
    const double weight = in.number("weight", head);
    if (kind == "mask") {
      builder.add(head, in.step(RowOp::bias), runs_of(in.spans_or_first(), log_weight(weight)));
    } else if (kind == "zero_value") {
      builder.add(head, in.step(RowOp::scale_values), runs_of(in.spans_or_first(), weight));
    } else {
      RowStep step = in.step(RowOp::weigh_groups);
      step.constants[0] = 1.0f;
      step.constants[1] = static_cast<float>(weight);
      builder.add(head, step, runs_of(in.spans_or_first(), 1.0));
    }
  }
}

/// Parts of the prompt that no span covers.
std::vector<KeyRange> complement(const std::vector<KeyRange>& spans, std::int64_t num_tokens) {
  std::vector<KeyRange> out;
  std::int64_t at = 0;
  for (const KeyRange& span : spans) {
    if (at < span.begin) out.push_back({at, span.begin});
    at = span.end;
  }
  if (at < num_tokens) out.push_back({at, num_tokens});
  return out;
}

/// Bias of the prompt outside the spans and inside.
struct PastaBias {
  double outside = 0.0, inside = 0.0;
};

PastaBias pasta_bias(const Resolved& in, double log_alpha) {
  const std::string mode = in.text("mode");
  const auto sections = static_cast<double>(in.source().inputs.spans.size());
  if (mode == "generation") return {log_alpha, log_alpha};
  // The published code adds the bias once for every section.
  if (mode == "exclude")
    return in.repo() ? PastaBias{sections * log_alpha, (sections - 1) * log_alpha} : PastaBias{log_alpha, 0.0};
  return in.repo() && sections > 1 ? PastaBias{-log_alpha, 0.0} : PastaBias{0.0, log_alpha};
}

void compile_pasta(const Resolved& in, Builder& builder) {
  const std::vector<KeyRange> inside = in.spans(), outside = complement(inside, in.prompt().num_tokens);
  for (const HeadId head : in.heads()) {
    const PastaBias bias = pasta_bias(in, std::log(in.number("alpha", head)));
    for (const auto& [spans, value] : {std::pair(inside, bias.inside), std::pair(outside, bias.outside)})
      if (value != 0.0 && !spans.empty()) builder.add(head, in.step(RowOp::bias), runs_of(spans, value));
  }
}

}  // namespace

std::vector<Method> score_methods() {
  return {
      {.id = "temperature",
       .title = "Attention temperature",
       .formula = "s' = tau * s; above 1 sharpens",
       .source = "Attention Alignment and Flexible Positional Embeddings Improve Transformer Length Extrapolation",
       .hook = "scores",
       .parameters = {number_parameter("tau", 1.0, 0.25, 4.0, 1.0, "Factor of the scores.")},
       .compile = compile_temperature},
      {.id = "key-ablation",
       .title = "Ablation of keys in three meanings",
       .formula =
           "mask: A'_j ~ w A_j, rows sum to 1; zero_weight: A'_j = w A_j, not renormalised; zero_value: v'_j = w v_j",
       .source = "",
       .hook = "scores, weights or values",
       .parameters = {choice_parameter("kind", {"mask", "zero_weight", "zero_value"}, "Which of the three."),
                      number_parameter("weight", 0.0, 0.0, 1.0, 1.0, "w: what is left of the keys.")},
       .compile = compile_key_ablation},
      {.id = "zero-tuning",
       .title = "ZeroTuning",
       .formula = "A'_0 = gamma A_0 / D, A'_j = A_j / D, D = 1 + (gamma - 1) A_0; computed as s'_0 = s_0 + ln gamma",
       .source = "ZeroTuning: Unlocking the Initial Token's Power to Enhance Large Language Models Without Training",
       .hook = "scores",
       .parameters = {number_parameter("gamma", 1.0, 0.0, 20.0, 1.0,
                                       "Weight of the first token (of the spans if given).")},
       .compile = compile_zero_tuning},
      {.id = "key-scale",
       .title = "Key-state scaling",
       .formula = "k'_j = scale * k_j for the first token (the spans if given): s'_j = scale * s_j",
       .source = "ZeroTuning: Unlocking the Initial Token's Power to Enhance Large Language Models Without Training",
       .hook = "keys",
       .parameters = {number_parameter("scale", 1.0, -4.0, 4.0, 1.0, "Factor of the keys.")},
       .compile = compile_key_scale},
      {.id = "pasta",
       .title = "PASTA, post-hoc attention steering",
       .formula = "exclude: A'_j ~ alpha A_j for keys of the prompt outside the spans",
       .source = "Tell Your Model Where to Attend: Post-hoc Attention Steering for LLMs",
       .hook = "scores",
       .parameters = {number_parameter("alpha", 0.01, 0.001, 1000.0, 1.0, "Weight of what is not emphasised."),
                      choice_parameter(
                          "mode", {"exclude", "include", "generation"},
                          "exclude weighs the rest of the prompt, include the spans, generation the prompt.")},
       .compile = compile_pasta},
  };
}

}  // namespace headlight::intervention
