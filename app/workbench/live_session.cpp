#include "app/workbench/live_session.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "core/engine/edits.h"
#include "core/intervention/intervention_file.h"
#include "core/intervention/method.h"
#include "core/intervention/program.h"

namespace headlight::workbench {
namespace {

using intervention::Stack;

Stack enabled_of(const Stack& stack) {
  Stack enabled;
  for (const auto& entry : stack)
    if (entry.enabled) enabled.push_back(entry);
  return enabled;
}

std::vector<intervention::TokenPlace> places_of(const capture::RecordHeader& record) {
  std::vector<intervention::TokenPlace> places;
  for (const auto& token : record.tokens) places.push_back({token.byte_begin, token.byte_end});
  return places;
}

capture::CapturePlan plan_of(const capture::ModelInfo& model, capture::CaptureLevel level) {
  return capture::plan_of_all_heads(model.num_layers, model.num_heads, level);
}

}  // namespace

StackEffect effect_of(const Stack& stack, const intervention::ModelShape& model, std::int64_t prompt_tokens) {
  const Stack enabled = enabled_of(stack);
  // Activations of another text are read from a run: not known here, and they act on head outputs.
  Stack compiled;
  bool outputs = false;
  for (const auto& entry : enabled) {
    if (intervention::require_method(entry.method).needs_source)
      outputs = true;
    else
      compiled.push_back(entry);
  }
  const intervention::Program program = intervention::compile(compiled, model, {.num_tokens = prompt_tokens});
  for (const auto& layer : program.layers)
    if (!layer.steps_h.empty()) return StackEffect::attention;
  return outputs || !program.empty() ? StackEffect::head_outputs : StackEffect::none;
}

std::shared_ptr<const LiveRun> LiveSession::pass(const Prompt& prompt, const Stack& stack, capture::CaptureLevel level,
                                                 std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
  RunRequest request;
  request.inputs.push_back({.ids = token_ids_of(prompt.record), .generate = 0, .targets = {}, .logit_rows = {-1}});
  request.interventions = stack;
  request.plan = plan_of(model_.info(), level);
  RunResult result = model_.runner().run(request, stop);
  auto run = std::make_shared<LiveRun>();
  run->capture = std::move(result.capture);
  run->logits = std::move(result.outputs[0].logits);
  run->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return run;
}

LiveResult LiveSession::run(const Prompt& prompt, const Stack& stack, std::stop_token stop) {
  if (prompt.record.tokens.empty())
    throw Error(Errc::invalid_argument, "the prompt is empty: there is no token to evaluate");
  Stack enabled = enabled_of(stack);
  intervention::look_up_spans(enabled, prompt.record.text, places_of(prompt.record));
  const std::vector<std::int32_t> ids = token_ids_of(prompt.record);
  const StackEffect effect =
      effect_of(enabled, engine::shape_of(model_.file().spec), static_cast<std::int64_t>(ids.size()));

  if (!base_ || base_ids_ != ids) {
    base_.reset();
    base_ = pass(prompt, {}, capture::CaptureLevel::replay, stop);
    base_ids_ = ids;
  }
  LiveResult result;
  result.base = result.changed = base_;
  if (effect != StackEffect::none)
    result.changed =
        pass(prompt, enabled,
             effect == StackEffect::attention ? capture::CaptureLevel::summary : capture::CaptureLevel::replay, stop);
  result.next = compare_next_tokens(result.base->logits, result.changed->logits, kTopTokens);
  for (const TokenChance& chance : result.next.top) result.token_texts.push_back(model_.token_text(chance.id));
  return result;
}

}  // namespace headlight::workbench
