// Methods that change the weights of a row once they are known: at most one for a head and row.

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/split_mix.h"
#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

using kernels::KeyRange;
using kernels::RowOp;
using kernels::RowStep;

RowStep step_on(const Resolved& in, RowOp op, double constant) {
  RowStep step = in.step(op);
  step.constants[0] = static_cast<float>(constant);
  return step;
}

/// Sinks S are found on the prompt, then c_S = beta, c_R = 1 + (1 - beta) m_S / m_R.
void compile_act(const Resolved& in, Builder& builder) {
  const bool over_length = in.text("threshold") == "alpha_over_N";
  for (const HeadId head : in.heads()) {
    // The first two layers and the last one are left out unless they are named.
    if (in.source().scope.is_open() && (head.layer < 2 || head.layer > in.shape().num_layers - 2)) continue;
    SinkDetection detection;
    detection.threshold =
        over_length ? in.number("alpha", head) / static_cast<double>(in.prompt().num_tokens) : in.number("theta", head);
    detection.min_rows = in.repo() ? 1 : in.integer("min_rows");
    detection.spare_first_found = in.repo();
    detection.keep_first = in.text("receivers") == "exclude_initial";
    detection.target = builder.add(head, step_on(in, RowOp::move_from_sinks, in.number("beta", head)));
    builder.layer(head.layer).sinks.push_back(detection);
  }
}

/// Text sinks, sinks of the spans, and the rest of the spans, which receives.
void compile_var(const Resolved& in, Builder& builder) {
  const std::vector<KeyRange> spans = in.spans();
  const int d = in.shape().hidden_size;
  if (in.source().inputs.sink_dims.empty())
    in.refuse("inputs.sink_dims", "'var' needs the dimensions of the residual stream that are massive at sinks");
  for (const int dim : in.source().inputs.sink_dims)
    if (dim < 0 || dim >= d)
      in.refuse("inputs.sink_dims", fmt::format("dimension {} does not exist, the residual has {}", dim, d));
  std::vector<HeadId> heads = in.heads();
  std::erase_if(heads, [&](HeadId head) {
    return head.layer < 2 || (in.flag("except_last_layer") && head.layer == in.shape().num_layers - 1);
  });
  for (auto at = heads.begin(); at != heads.end();) {
    MassiveDetection detection;
    detection.dims = in.source().inputs.sink_dims;
    detection.tau = in.number("tau_rel", *at) * std::sqrt(static_cast<double>(d));
    detection.spans = spans;
    const int layer = at->layer;
    for (; at != heads.end() && at->layer == layer; ++at) {
      RowStep step = step_on(in, RowOp::move_to_targets, in.number("recycle", *at));
      step.rows.begin = std::max(step.rows.begin, spans.back().end);
      step.constants[1] = static_cast<float>(in.number("summ", *at));
      step.constants[2] = static_cast<float>(in.number("rho", *at));
      detection.targets.push_back(builder.add(*at, step));
    }
    builder.layer(layer).massive.push_back(std::move(detection));
  }
}

void compile_attention_replacement(const Resolved& in, Builder& builder) {
  const std::string kind = in.text("kind");
  const RowOp op = kind == "uniform"    ? RowOp::mix_uniform
                   : kind == "reversed" ? RowOp::mix_reversed
                   : kind == "random"   ? RowOp::mix_random
                                        : RowOp::mix_shuffled;
  for (const HeadId head : in.heads()) {
    RowStep step = step_on(in, op, in.number("mix", head));
    const auto number = static_cast<std::uint64_t>(head.layer * in.shape().num_heads + head.head);
    step.seed =
        SplitMix64::stream(static_cast<std::uint64_t>(in.integer("seed")), "attention-replacement", number).next();
    builder.add(head, step);
  }
}

void compile_self(const Resolved& in, Builder& builder) {
  for (const HeadId head : in.heads()) builder.add(head, step_on(in, RowOp::mix_self, in.number("u", head)));
}

}  // namespace

std::vector<Method> weight_methods() {
  return {
      {.id = "act",
       .title = "ACT, attention calibration",
       .formula =
           "S = keys with mean_i A_j > theta but the first; A'_S = beta A_S, A'_R = A_R (1 + (1 - beta) m_S / m_R)",
       .source = "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training "
                 "through Attention Calibration",
       .hook = "weights",
       .parameters = {number_parameter("beta", 0.4, 0.0, 2.0, 1.0, "What sinks keep."),
                      choice_parameter("threshold", {"absolute", "alpha_over_N"}, "theta itself, or alpha / N."),
                      number_parameter("theta", 0.1, 0.01, 0.5, nullptr, "Mean weight above which a key is a sink."),
                      number_parameter("alpha", 5.0, 1.0, 20.0, nullptr, "With alpha_over_N: threshold times N."),
                      integer_parameter("min_rows", 8, 1, 32, "Rows that must see a key (repo: 1)."),
                      choice_parameter("receivers", {"all", "exclude_initial"},
                                       "Whether the first token receives what sinks lose.")},
       .compile = compile_act},
      {.id = "attention-replacement",
       .title = "Counterfactual attention",
       .formula = "A' = (1 - mix) A + mix R, R uniform, reversed, random or shuffled over the visible keys",
       .source = "Mitigating Modality Prior-Induced Hallucinations in Multimodal Large Language Models via Deciphering "
                 "Attention Causality",
       .hook = "weights",
       .parameters = {choice_parameter("kind", {"uniform", "reversed", "random", "shuffled"}, "What R is."),
                      number_parameter("mix", 1.0, 0.0, 1.0, 0.0, "Share of R."),
                      integer_parameter("seed", 0, 0, std::int64_t{1} << 53, "Of random and shuffled.")},
       .compile = compile_attention_replacement},
      {.id = "var",
       .title = "VAR, visual attention redistribution",
       .formula = "sinks give the share `recycle` to the other tokens of the spans, on rows with m_I >= summ, m_V / "
                  "m_I >= rho",
       .source = "See What You Are Told: Visual Attention Sink in Large Multimodal Models",
       .hook = "residual (read), weights",
       .parameters = {number_parameter("recycle", 0.6, 0.0, 1.0, 0.0, "Share that sinks give away."),
                      number_parameter("summ", 0.2, 0.0, 1.0, nullptr, "Least weight on the spans."),
                      number_parameter("rho", 0.8, 0.0, 1.0, nullptr, "Least share of it outside their sinks."),
                      number_parameter("tau_rel", 0.3125, 0.01, 1.0, nullptr,
                                       "A token is a sink above tau_rel * sqrt(d): 20 at d = 4096."),
                      flag_parameter("except_last_layer", true, "Leave the last layer alone.")},
       .compile = compile_var},
      {.id = "soft-pag",
       .title = "SoftPAG, mixing with the identity",
       .formula = "A' = (1 - u) A + u I",
       .source = "Fine-Grained Perturbation Guidance via Attention Head Selection",
       .hook = "weights",
       .parameters = {number_parameter("u", 0.5, 0.0, 1.0, 0.0, "Share of the identity.")},
       .compile = compile_self},
  };
}

}  // namespace headlight::intervention
