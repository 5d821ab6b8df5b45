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

}  // namespace

bool changes_nothing(const Stack& stack, const intervention::ModelShape& model, std::int64_t prompt_tokens) {
  const Stack enabled = enabled_of(stack);
  Stack compiled;
  for (const auto& entry : enabled)
    if (!intervention::require_method(entry.method).needs_source) compiled.push_back(entry);
  const bool all = compiled.size() == enabled.size();  // what another text does is not known before it is run
  return intervention::compile(compiled, model, {.num_tokens = prompt_tokens}).empty() && all;
}

RunRequest LiveSession::request_for(const std::vector<std::int32_t>& ids) const {
  RunRequest request;
  request.inputs.push_back({.ids = ids, .generate = 0, .targets = {}, .logit_rows = {-1}});
  const auto& model = model_.info();
  request.plan = capture::plan_of_all_heads(model.num_layers, model.num_heads, capture::CaptureLevel::replay);
  const std::int64_t states = (model.num_layers + 1) * std::ssize(ids) * model.hidden_size;
  request.plan.hidden_states = states * std::int64_t{sizeof(float)} <= kMostStateBytes;
  return request;
}

std::shared_ptr<const LiveRun> LiveSession::pass(RunRequest request, std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
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
  const auto shape = engine::shape_of(model_.file().spec);
  const bool plain = changes_nothing(enabled, shape, static_cast<std::int64_t>(ids.size()));

  if (!base_ || base_ids_ != ids) {
    base_.reset();
    base_ = pass(request_for(ids), stop);
    base_ids_ = ids;
  }
  LiveResult result;
  result.base = result.changed = base_;
  if (!plain) {
    RunRequest request = request_for(ids);
    request.interventions = enabled;
    if (request.plan.hidden_states) request.unchanged = base_->capture;
    result.changed = pass(std::move(request), stop);
  }
  result.next = compare_next_tokens(result.base->logits, result.changed->logits, kTopTokens);
  for (const TokenChance& chance : result.next.top) result.token_texts.push_back(model_.token_text(chance.id));
  return result;
}

}  // namespace headlight::workbench
