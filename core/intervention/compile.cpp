#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "core/intervention/builder.h"
#include "core/intervention/method.h"

namespace headlight::intervention {
namespace {

using kernels::RowOp;
using kernels::RowStep;

bool acts_on_weights(RowOp op) {
  return !kernels::acts_on_scores(op) && op != RowOp::scale_values;
}

bool overlap(kernels::KeyRange a, kernels::KeyRange b) {
  return std::max(a.begin, b.begin) < std::min(a.end, b.end);
}

}  // namespace

Builder::Builder(const ModelShape& shape) : shape_(shape) {
  program_.layers.resize(static_cast<std::size_t>(shape.num_layers));
}

StepRef Builder::add(HeadId head, const RowStep& step) {
  if (acts_on_weights(step.op)) {
    for (const Owner& other : weight_steps_)
      if (other.head == head && overlap(other.rows, step.rows))
        throw Error(Errc::invalid_argument,
                    fmt::format("interventions '{}' and '{}' both change the weights of head {}, and only one can",
                                other.id, owner_->id, heads::to_string(head)));
    weight_steps_.push_back({head, step.rows, owner_->id});
  }
  auto& steps_h = layer(head.layer).steps_h;
  steps_h.resize(static_cast<std::size_t>(shape_.num_heads));
  auto& steps = steps_h[static_cast<std::size_t>(head.head)];
  steps.push_back(step);
  return {head.head, steps.size() - 1};
}

// Steps are sorted by stage; references to them move along.
Program Builder::finish() {
  for (LayerProgram& layer : program_.layers) {
    for (std::size_t h = 0; h < layer.steps_h.size(); ++h) {
      auto& steps = layer.steps_h[h];
      std::vector<std::size_t> order(steps.size());
      for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
      // Steps on weights share a stage: among different rows their order is that of the stack.
      const auto stage = [&](std::size_t n) {
        return acts_on_weights(steps[n].op) ? RowOp::weigh_groups : steps[n].op;
      };
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return stage(a) < stage(b); });
      std::vector<RowStep> sorted;
      for (const std::size_t n : order) sorted.push_back(steps[n]);
      steps = std::move(sorted);
      const auto move = [&](StepRef& ref) {
        if (static_cast<std::size_t>(ref.head) != h) return;
        ref.step = static_cast<std::size_t>(std::find(order.begin(), order.end(), ref.step) - order.begin());
      };
      for (SinkDetection& detection : layer.sinks) move(detection.target);
      for (MassiveDetection& detection : layer.massive)
        for (StepRef& ref : detection.targets) move(ref);
      const auto number = static_cast<int>(&layer - program_.layers.data());
      for (LayerProgram& earlier : program_.layers)
        for (GazeDetection& detection : earlier.gazes)
          for (LaterStep& later : detection.targets)
            if (later.layer == number) move(later.step);
    }
  }
  const auto& layers = program_.layers;
  if (program_.embeddings.empty() &&
      std::all_of(layers.begin(), layers.end(), [](const auto& layer) { return layer.empty(); }))
    return {};
  return std::move(program_);
}

Program compile(std::span<const Intervention> stack, const ModelShape& shape, const PromptFacts& prompt) {
  Builder builder(shape);
  for (const Intervention& intervention : stack) {
    if (!intervention.enabled) continue;
    const Resolved resolved(intervention, shape, prompt);
    builder.begin(intervention);
    if (resolved.rows().size() > 0 && !resolved.heads().empty()) resolved.method().compile(resolved, builder);
  }
  return builder.finish();
}

}  // namespace headlight::intervention
