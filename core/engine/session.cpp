#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/rope.h"
#include "core/engine/sampler.h"
#include "core/engine/session_impl.h"

namespace headlight::engine {

std::int64_t rope_length_key(const formats::ModelSpec& spec, std::int64_t length) {
  if (spec.rotary_dim == 0) return 0;
  return std::max(rope_length_key(spec.rope, spec.context_length, length),
                  rope_length_key(spec.rope_sliding, spec.context_length, length));
}

std::vector<std::int32_t> end_ids(const Engine::Impl& engine) {
  return engine.model.tokenizer ? engine.model.tokenizer->eos_ids() : std::vector<std::int32_t>{};
}

Session::Impl::Impl(const Engine::Impl& owner, const SequenceUse& use)
    : engine(owner), runner(make_runner(owner, use)) {}

void check_tokens(const formats::ModelSpec& spec, std::span<const std::int32_t> ids, std::int64_t cached) {
  if (ids.empty()) throw Error(Errc::invalid_argument, "there is no token to evaluate");
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= spec.vocab_size)
      throw Error(Errc::invalid_argument,
                  fmt::format("token {} has id {}, the vocabulary holds ids 0 to {}",
                              cached + static_cast<std::int64_t>(i), ids[i], spec.vocab_size - 1));
  const std::int64_t length = cached + static_cast<std::int64_t>(ids.size());
  if (length > spec.context_length)
    throw Error(Errc::prompt_too_long,
                fmt::format("{} tokens do not fit the model's context of {} tokens", length, spec.context_length));
}

void Session::Impl::intervene(std::span<const intervention::Intervention> stack) {
  HEADLIGHT_CHECK(tokens.empty());
  edits.reset();
  if (stack.empty()) return;
  require_cpu(engine, "interventions");
  intervention::Stack filled(stack.begin(), stack.end());
  run_sources(engine, filled);
  edits.emplace(engine.spec(), filled);
}

void Session::Impl::advance(ForwardRequest request) {
  const std::span<const std::int32_t> ids = request.ids;
  const std::int64_t start = static_cast<std::int64_t>(tokens.size());
  check_tokens(engine.spec(), ids, start);
  const std::int64_t length = start + static_cast<std::int64_t>(ids.size());
  const std::int64_t key = rope_length_key(engine.spec(), length);
  const bool rebuild = start > 0 && key != rope_key;
  HEADLIGHT_CHECK(!rebuild || request.observer == nullptr);
  if (rebuild && edits)
    throw Error(Errc::unsupported,
                fmt::format("rotary frequencies change at {} tokens: a sequence with interventions cannot cross that; "
                            "give a longer prompt or generate fewer tokens",
                            length));
  if (length > runner->capacity())
    runner->reserve(start == 0 ? length : std::min(engine.spec().context_length, length + length / 2));

  std::vector<std::int32_t> all;
  if (rebuild) {
    all = tokens;
    all.insert(all.end(), ids.begin(), ids.end());
    request.ids = all;
  }
  request.start = rebuild ? 0 : start;
  if (edits) {
    if (start == 0) edits->begin(request.num_prompt_tokens > 0 ? request.num_prompt_tokens : length);
    request.edits = &*edits;
  }
  if (rebuild)
    tokens.clear();  // the cache is rewritten: were the run stopped, nothing of the old sequence would be left
  runner->forward(request);
  if (rebuild) {
    tokens = std::move(all);
  } else {
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  rope_key = key;
  last_rows = static_cast<std::int64_t>(ids.size());
  rebuilt_rows = rebuild ? start : 0;
}

void Session::Impl::logits_of_rows(std::int64_t first, std::int64_t n, float* logits) {
  const std::int64_t start = static_cast<std::int64_t>(tokens.size()) - last_rows;
  runner->logits(rebuilt_rows + first, n, start + first, logits);
}

Session::Session(Engine& engine, std::span<const intervention::Intervention> interventions)
    : impl_(std::make_unique<Impl>(engine.impl())) {
  impl_->intervene(interventions);
}
Session::~Session() = default;

void Session::forward(std::span<const std::int32_t> ids, std::span<float> logits, const ProgressCallback& progress,
                      std::stop_token stop) {
  const std::size_t vocab = static_cast<std::size_t>(impl_->engine.spec().vocab_size);
  if (!logits.empty() && logits.size() != vocab && logits.size() != vocab * ids.size())
    throw Error(Errc::invalid_argument,
                fmt::format("expected room for {} or {} logits, found {}", vocab, vocab * ids.size(), logits.size()));
  impl_->advance(
      {.ids = ids, .phase = impl_->tokens.empty() ? "prefill" : "decode", .progress = progress, .stop = stop});
  if (logits.empty()) return;
  if (logits.size() == vocab) {
    impl_->logits_of_last_row(logits);
  } else {
    impl_->logits_of_rows(0, impl_->last_rows, logits.data());
  }
}

std::int64_t Session::position() const {
  return static_cast<std::int64_t>(impl_->tokens.size());
}

void Session::reset() {
  impl_->tokens.clear();
}

namespace {

/// Sequences of the same tokens with other interventions, whose logits count against those of the first.
class Branches {
 public:
  Branches(Engine& engine, const intervention::Contrast* contrast) : contrast_(contrast) {
    if (contrast == nullptr) return;
    for (const intervention::Contrast::Branch& branch : contrast->branches) {
      sessions_.push_back(std::make_unique<Session>(engine, branch.interventions));
      logits_.emplace_back(static_cast<std::size_t>(engine.spec().vocab_size));
    }
  }

  void advance(std::span<const std::int32_t> ids, std::string_view phase, const std::stop_token& stop) {
    for (const auto& session : sessions_) session->impl().advance({.ids = ids, .phase = phase, .stop = stop});
  }
  void combine(std::span<float> logits) {
    if (contrast_ == nullptr) return;
    for (std::size_t b = 0; b < sessions_.size(); ++b) sessions_[b]->impl().logits_of_last_row(logits_[b]);
    intervention::combine_logits(*contrast_, logits, logits_);
  }

 private:
  const intervention::Contrast* contrast_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::vector<float>> logits_;
};

}  // namespace

std::vector<GeneratedToken> generate(Engine& engine, std::span<const std::int32_t> prompt, std::int64_t max_new_tokens,
                                     const SamplingOptions& sampling, std::uint64_t record,
                                     const std::function<void(const GeneratedToken&)>& on_token, std::stop_token stop,
                                     std::span<const intervention::Intervention> interventions,
                                     const intervention::Contrast* contrast) {
  check_sampling(sampling);
  if (max_new_tokens < 0) throw Error(Errc::invalid_argument, "the number of new tokens must not be negative");
  Session session(engine, interventions);
  Session::Impl& run = session.impl();
  const formats::ModelSpec& spec = engine.spec();
  check_tokens(spec, prompt, 0);
  // The last token is not evaluated, so that a full context still gives one token more than it holds.
  const std::int64_t room = spec.context_length - static_cast<std::int64_t>(prompt.size()) + 1;
  const std::int64_t steps = std::min(max_new_tokens, room);
  const std::vector<std::int32_t> ends = end_ids(engine.impl());
  run.runner->reserve(static_cast<std::int64_t>(prompt.size()) + std::max<std::int64_t>(0, steps - 1));

  std::vector<GeneratedToken> out;
  if (steps == 0) return out;
  std::vector<float> logits(static_cast<std::size_t>(spec.vocab_size));
  Branches branches(engine, contrast);
  run.advance({.ids = prompt, .phase = "prefill", .stop = stop});
  branches.advance(prompt, "prefill", stop);
  while (true) {
    run.logits_of_last_row(logits);
    branches.combine(logits);
    out.push_back(sample_token(logits, sampling, record, out.size()));
    if (on_token) on_token(out.back());
    const bool ended = std::find(ends.begin(), ends.end(), out.back().id) != ends.end();
    if (ended || static_cast<std::int64_t>(out.size()) == steps) return out;
    run.advance({.ids = std::span(&out.back().id, 1), .phase = "decode", .stop = stop});
    branches.advance(std::span(&out.back().id, 1), "decode", stop);
  }
}

}  // namespace headlight::engine
