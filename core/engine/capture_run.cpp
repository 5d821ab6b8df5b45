#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "core/engine/capture_probe.h"
#include "core/engine/logit_recorder.h"
#include "core/engine/sampler.h"
#include "core/engine/session_impl.h"

namespace headlight::engine {
namespace {

using capture::CapturePlan;
using capture::CaptureSink;

void check_plan(const CapturePlan& plan, const Engine& engine) {
  const formats::ModelSpec& spec = engine.spec();
  const auto refuse = [](const std::string& text) { throw Error(Errc::invalid_argument, text); };
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (plan.layers[i] < 0 || plan.layers[i] >= spec.num_layers)
      refuse(fmt::format("layer {} does not exist, the model has layers 0 to {}", plan.layers[i], spec.num_layers - 1));
    if (i > 0 && plan.layers[i] <= plan.layers[i - 1]) refuse("the layers of a capture plan must be ascending");
  }
  if (plan.heads_lh.size() != plan.layers.size() * static_cast<std::size_t>(spec.num_heads))
    refuse(fmt::format("a capture plan of {} layers needs {} head flags, found {}", plan.layers.size(),
                       plan.layers.size() * static_cast<std::size_t>(spec.num_heads), plan.heads_lh.size()));
  if (plan.sink_size < 0 || plan.local_window < 0 || plan.tail_rows < 0 || plan.topk < 0 || plan.topk_rows < 0)
    refuse("sizes of a capture plan must not be negative");
  if (engine.compute_dtype() != DType::f32 && plan.replay_dtype != DType::f32 &&
      plan.replay_dtype != engine.compute_dtype())
    refuse(fmt::format("operands are computed in {} and cannot be stored exactly in {}",
                       to_string(engine.compute_dtype()), to_string(plan.replay_dtype)));
}

std::vector<std::int32_t> prompt_ids(const capture::RecordHeader& header) {
  std::vector<std::int32_t> ids;
  for (const capture::TokenInfo& token : header.tokens) ids.push_back(token.id);
  return ids;
}

/// Rows a record announces: the last generated token is never evaluated.
std::int64_t announced_rows(const CaptureInput& input) {
  return static_cast<std::int64_t>(input.header.tokens.size()) + std::max<std::int64_t>(0, input.generate - 1);
}

// Everything that can be wrong with an input, before anything is computed or written.
void check_input(const CaptureInput& input, const Engine::Impl& engine) {
  const formats::ModelSpec& spec = engine.spec();
  check_tokens(spec, prompt_ids(input.header), 0);
  if (input.generate < 0) throw Error(Errc::invalid_argument, "the number of new tokens must not be negative");
  if (input.header.first_key != 0)
    throw Error(Errc::unsupported, "the engine does not run left-padded prompts; give the prompt without padding");
  const std::int64_t prompt = static_cast<std::int64_t>(input.header.tokens.size()), rows = announced_rows(input);
  if (rows > spec.context_length)
    throw Error(Errc::prompt_too_long, fmt::format("{} prompt and {} new tokens do not fit the model's context of {}",
                                                   prompt, input.generate, spec.context_length));
  if (rope_length_key(spec, prompt) != rope_length_key(spec, rows))
    throw Error(Errc::unsupported,
                fmt::format("rows {} to {} use rotary frequencies that depend on the length, so generating {} tokens "
                            "would change the rows of the prompt; generate fewer tokens or give a longer prompt",
                            prompt, rows - 1, input.generate));
}

void check_unchanged(const std::vector<CaptureInput>& inputs, const CapturePlan& plan, const CaptureExtras& extras) {
  if (extras.unchanged == nullptr) return;
  const auto refuse = [](const std::string& text) {
    throw Error(Errc::invalid_argument, "layers of an earlier capture cannot be taken over: " + text);
  };
  if (!(extras.unchanged->header().plan == plan)) refuse("it has another plan");
  if (!plan.hidden_states) refuse("it has no residual states");
  if (extras.base_statistics) refuse("it has no statistics without interventions");
  if (extras.unchanged->num_records() != std::ssize(inputs))
    refuse(fmt::format("it has {} records for {} inputs", extras.unchanged->num_records(), inputs.size()));
  for (std::size_t r = 0; r < inputs.size(); ++r) {
    const auto record = extras.unchanged->record(static_cast<std::int64_t>(r));
    if (inputs[r].generate > 0) refuse("tokens are generated");
    if (record.header.rows_changed || !record.header.interventions.empty() ||
        prompt_ids(record.header) != prompt_ids(inputs[r].header))
      refuse(fmt::format("record {} is another one", r));
  }
}

// Runs the records of one capture. Memory of the engine is shared by all of them.
class CaptureRun {
 public:
  CaptureRun(const Engine::Impl& engine, const Engine& facts, const std::vector<CaptureInput>& inputs,
             const CapturePlan& plan, const SamplingOptions& sampling, CaptureSink& sink,
             const ProgressCallback& progress, std::stop_token stop, const CaptureExtras& extras)
      : engine_(engine),
        facts_(facts),
        inputs_(inputs),
        plan_(plan),
        sampling_(sampling),
        sink_(sink),
        progress_(progress),
        stop_(std::move(stop)),
        extras_(extras),
        generates_(any_generates(inputs)),
        session_(engine, {.rows_follow = generates_, .sequences_follow = inputs.size() > 1}),
        ends_(end_ids(engine)),
        logits_(static_cast<std::size_t>(engine.spec().vocab_size)) {}

  /// True when the record is complete. @error whatever stopped it, after end_record()
  void record(std::size_t number) {
    const CaptureInput& input = inputs_[number];
    intervene(input);
    const capture::RecordHeader header = complete_header(input);
    RecordContext context(engine_, plan_, header, sink_, *session_.runner, input.generate > 1,
                          session_.edits ? &*session_.edits : nullptr);
    PromptProbe prompt(context);
    rows_done_ = 0;
    sink_.begin_record(header);
    const int first_layer = extras_.unchanged != nullptr && session_.edits ? session_.edits->first_layer() : 0;
    if (first_layer > 0) extras_.layers_skipped(static_cast<std::int64_t>(number), first_layer);
    try {
      run_prompt(number, first_layer, context, prompt);
      if (extras_.prompt_done)
        extras_.prompt_done(number, [this](std::int64_t first, std::int64_t n, float* logits) {
          session_.logits_of_rows(first, n, logits);
        });
      if (input.generate > 0) run_generation(input, number, context);
      finish_columns(context);
    } catch (...) {
      // Layers that ran are complete: the rows of the prompt are there, those of later layers are not recorded.
      if (rows_done_ == 0 && prompt.layers_done() > 0) rows_done_ = header.num_prompt_tokens;
      sink_.end_record(rows_done_, context.clock.list());
      throw;
    }
    sink_.end_record(rows_done_, context.clock.list());
  }

 private:
  static bool any_generates(const std::vector<CaptureInput>& inputs) {
    return std::any_of(inputs.begin(), inputs.end(), [](const CaptureInput& input) { return input.generate > 1; });
  }

  capture::RecordHeader complete_header(const CaptureInput& input) const {
    capture::RecordHeader header = input.header;
    header.num_prompt_tokens = static_cast<std::int64_t>(header.tokens.size());
    header.num_rows = announced_rows(input);
    header.rows_changed = session_.edits && session_.edits->changes_rows() && !plan_.layers.empty();
    header.has_base = header.rows_changed && extras_.base_statistics;
    header.layers.clear();
    for (const int layer : plan_.layers) header.layers.push_back(facts_.layer_parameters(layer));
    if (engine_.model.tokenizer)
      header.bos_present = engine_.model.tokenizer->bos_id() == std::optional(header.tokens.front().id);
    return header;
  }

  /// Interventions of the run, then those of the record, for a prompt of its length.
  void intervene(const CaptureInput& input) {
    session_.tokens.clear();
    intervention::Stack stack(extras_.interventions.begin(), extras_.interventions.end());
    stack.insert(stack.end(), input.interventions.begin(), input.interventions.end());
    session_.intervene(stack);
    if (session_.edits) session_.edits->begin(static_cast<std::int64_t>(input.header.tokens.size()));
  }

  void run_prompt(std::size_t number, int first_layer, RecordContext& context, PromptProbe& probe) {
    const CaptureInput& input = inputs_[number];
    const std::vector<std::int32_t> ids = prompt_ids(input.header);
    const Buffer<float> entering = entering_rows(number, first_layer, std::ssize(ids));
    session_.tokens.clear();
    session_.runner->reserve(announced_rows(input));
    {
      const PhaseClock::Scope timed(context.clock.prefill);
      ForwardRequest request = observed(ids, probe, context, "prefill");
      request.first_layer = first_layer;
      request.entering_id = entering.data();
      session_.advance(request);
    }
    rows_done_ = static_cast<std::int64_t>(ids.size());
    if (input.generate > 0) return;  // the first new token is the target of the last row
    record_prompt_logits(context, ids, LogitRecorder::kNoTarget);
  }

  /// The residual stream that enters a layer that nothing has changed before.
  Buffer<float> entering_rows(std::size_t record, int first_layer, std::int64_t rows) const {
    if (first_layer == 0) return {};
    Buffer<float> x_id(static_cast<std::size_t>(rows * engine_.spec().hidden_size));
    extras_.unchanged->read_states(static_cast<std::int64_t>(record), first_layer, 0, rows, x_id.data());
    return x_id;
  }

  // A prompt can be stopped between layers, generation between rows only: see run_generation().
  ForwardRequest observed(std::span<const std::int32_t> ids, LayerObserver& observer, RecordContext& context,
                          std::string_view phase) const {
    ForwardRequest request;
    request.ids = ids;
    request.observer = &observer;
    request.clock = &context.clock;
    request.operand_dtype = context.operand_dtype();
    request.phase = phase;
    if (phase == "decode") return request;
    request.progress = progress_;
    request.stop = stop_;
    return request;
  }

  void record_prompt_logits(RecordContext& context, std::span<const std::int32_t> ids, std::int32_t target) {
    const PhaseClock::Scope timed(context.clock.logits);
    if (plan_.logits == capture::LogitsKept::all) {
      const auto logits = [&](std::int64_t first, std::int64_t n, float* out) {
        session_.logits_of_rows(first, n, out);
      };
      record_all_logits(context, logits, ids, target);
    } else if (plan_.logits == capture::LogitsKept::last) {
      if (target == LogitRecorder::kNoTarget) session_.logits_of_last_row(logits_);
      LogitRecorder recorder(context, true);
      recorder.add(static_cast<std::int64_t>(ids.size()) - 1, logits_, target);
      recorder.flush();
    }
  }

  void run_generation(const CaptureInput& input, std::size_t number, RecordContext& context) {
    DecodeProbe probe(context);
    LogitRecorder recorder(context, plan_.logits == capture::LogitsKept::all);
    std::vector<GeneratedToken> pending;
    const auto flush = [&] {
      probe.flush();
      recorder.flush();
      const PhaseClock::Scope timed(context.clock.sink);
      for (const GeneratedToken& token : pending) sink_.append_generated(token_info(token), token.logprob);
      pending.clear();
      sink_.flush();
    };
    session_.logits_of_last_row(logits_);
    GeneratedToken token = sample_token(logits_, sampling_, number, 0);
    pending.push_back(token);
    record_prompt_logits(context, session_.tokens, token.id);
    bool stopped = false;
    for (std::int64_t step = 1; step < input.generate && !is_end(token.id); ++step) {
      stopped = stop_.stop_requested();
      if (stopped) break;  // between rows only: a torn row would be in some layers' column sums
      const PhaseClock::Scope timed(context.clock.decode);
      session_.advance(observed(std::span(&token.id, 1), probe, context, "decode"));
      probe.row_done();
      session_.logits_of_last_row(logits_);
      token = sample_token(logits_, sampling_, number, static_cast<std::uint64_t>(step));
      pending.push_back(token);
      if (plan_.logits != capture::LogitsKept::none) recorder.add(rows_done_, logits_, token.id);
      ++rows_done_;
      if (probe.full()) flush();
      if (progress_) progress_({"decode", step + 1, input.generate, rows_done_});
    }
    flush();
    if (!stopped) return;
    finish_columns(context);
    throw_if_stopped(stop_);
  }

  // The prompt's columns were written layer by layer; generated rows added to them.
  void finish_columns(RecordContext& context) {
    if (context.record.num_rows == context.record.num_prompt_tokens) return;
    session_.runner->finish_columns();
    for (std::size_t index = 0; index < plan_.layers.size(); ++index)
      context.write_columns(static_cast<int>(index), rows_done_);
  }

  bool is_end(std::int32_t id) const { return std::find(ends_.begin(), ends_.end(), id) != ends_.end(); }

  capture::TokenInfo token_info(const GeneratedToken& token) const {
    capture::TokenInfo info;
    info.id = token.id;
    info.kind = static_cast<std::uint8_t>(formats::TokenKind::generated);
    const formats::Tokenizer* tokenizer = engine_.model.tokenizer.get();  // knows less ids than a padded vocabulary has
    if (tokenizer != nullptr && token.id < tokenizer->vocab_size()) info.piece = tokenizer->piece(token.id);
    return info;
  }

  const Engine::Impl& engine_;
  const Engine& facts_;
  const std::vector<CaptureInput>& inputs_;
  const CapturePlan& plan_;
  const SamplingOptions& sampling_;
  CaptureSink& sink_;
  const ProgressCallback& progress_;
  std::stop_token stop_;
  const CaptureExtras& extras_;
  bool generates_;
  Session::Impl session_;
  std::vector<std::int32_t> ends_;
  std::vector<float> logits_;
  std::int64_t rows_done_ = 0;
};

/// The error that is being handled matters more than one while closing.
void finish_after_error(CaptureSink& sink) {
  try {
    sink.finish(false);
  } catch (const Error& error) {
    log_warning(error.what());
  }
}

/// Errors that end the whole run: a stop, and whatever would hit the next record too.
bool ends_run(Errc code) {
  return code == Errc::cancelled || code == Errc::io || code == Errc::out_of_memory || code == Errc::internal ||
         code == Errc::changed;
}

}  // namespace

std::int64_t run_capture(Engine& engine, const std::vector<CaptureInput>& inputs, const capture::CaptureHeader& header,
                         const SamplingOptions& sampling, CaptureSink& sink, const ProgressCallback& progress,
                         std::stop_token stop, const CaptureExtras& extras) {
  check_sampling(sampling);
  check_plan(header.plan, engine);
  if (inputs.empty()) throw Error(Errc::invalid_argument, "there is no input to record");
  check_unchanged(inputs, header.plan, extras);
  const bool corpus = inputs.size() > 1;
  if (!corpus) check_input(inputs.front(), engine.impl());
  CaptureRun run(engine.impl(), engine, inputs, header.plan, sampling, sink, progress, stop, extras);
  sink.begin(header);
  std::int64_t failed = 0;
  bool complete = true;
  for (std::size_t number = 0; number < inputs.size(); ++number) {
    if (corpus && progress)
      progress({"record", static_cast<std::int64_t>(number), static_cast<std::int64_t>(inputs.size()), 0});
    bool begun = false;
    try {
      throw_if_stopped(stop);
      check_input(inputs[number], engine.impl());
      begun = true;
      run.record(number);
    } catch (const Error& error) {
      if (!corpus || !extras.skip_failures || ends_run(error.code())) {
        finish_after_error(sink);
        throw;
      }
      ++failed;
      complete = complete && !begun;
      log_warning(fmt::format("record '{}': {}", inputs[number].header.record_id, error.what()));
    } catch (...) {
      finish_after_error(sink);
      throw;
    }
  }
  sink.finish(complete);
  return failed;
}

}  // namespace headlight::engine
