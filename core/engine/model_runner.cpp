#include "core/engine/model_runner.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/continuation_scores.h"
#include "core/engine/logit_recorder.h"

namespace headlight {

std::vector<TokenTarget> next_token_targets(std::span<const std::int32_t> ids, std::int64_t first, std::int64_t last) {
  const auto successors = static_cast<std::int64_t>(ids.size()) - 1;
  const std::int64_t end = last < 0 ? successors : std::min(last, successors);
  std::vector<TokenTarget> targets;
  for (std::int64_t row = first; row < end; ++row) targets.push_back({row, ids[static_cast<std::size_t>(row) + 1]});
  return targets;
}

namespace engine {
namespace {

class EngineModelRunner final : public ModelRunner {
 public:
  EngineModelRunner(Engine& engine, intervention::Stack always)
      : engine_(engine), always_(std::move(always)), info_(engine.model_info()) {}

  const capture::ModelInfo& model() const override { return info_; }
  ThreadPool& pool() override { return engine_.pool(); }
  RunResult run(const RunRequest& request, std::stop_token stop) override;
  std::vector<std::vector<ScoreOutput>> score(std::span<const ScoreInput> inputs,
                                              std::span<const ScoreVariant> variants, std::stop_token stop) override;

 private:
  void check(const RunInput& input, std::size_t number) const;
  CaptureInput capture_input(const RunInput& input, std::size_t number) const;
  void read_targets(const RunInput& input, const LogitsOfRows& logits, RunOutput& output);
  void read_logits(const RunInput& input, const LogitsOfRows& logits, RunOutput& output);

  Engine& engine_;
  const intervention::Stack always_;
  capture::ModelInfo info_;
};

void EngineModelRunner::check(const RunInput& input, std::size_t number) const {
  const auto refuse = [&](const std::string& text) {
    throw Error(Errc::invalid_argument, fmt::format("input {}: {}", number, text));
  };
  const auto rows = static_cast<std::int64_t>(input.ids.size());
  std::int64_t before = 0;
  for (const TokenTarget& target : input.targets) {
    if (target.row < before || target.row >= rows)
      refuse(fmt::format("targets must be ascending rows below {}, found row {} after {}", rows, target.row, before));
    if (target.id < 0 || target.id >= info_.vocab_size)
      refuse(fmt::format("target {} is outside the vocabulary of {}", target.id, info_.vocab_size));
    before = target.row;
  }
  for (const std::int64_t row : input.logit_rows)
    if (row < -1 || row >= rows) refuse(fmt::format("logits of row {} are wanted, there are {} rows", row, rows));
}

CaptureInput EngineModelRunner::capture_input(const RunInput& input, std::size_t number) const {
  CaptureInput out;
  out.generate = input.generate;
  out.header.record_id = std::to_string(number);
  const formats::Tokenizer* tokenizer = engine_.model().tokenizer.get();
  for (const std::int32_t id : input.ids) {
    capture::TokenInfo token;
    token.id = id;
    if (tokenizer != nullptr && id >= 0 && id < tokenizer->vocab_size()) token.piece = tokenizer->piece(id);
    out.header.tokens.push_back(std::move(token));
  }
  return out;
}

// Consecutive rows go through the output matrix together, in bounded memory.
void EngineModelRunner::read_targets(const RunInput& input, const LogitsOfRows& logits, RunOutput& output) {
  const auto vocab = static_cast<std::size_t>(info_.vocab_size);
  const std::int64_t most = logit_block_rows(info_.vocab_size);
  std::vector<float> block;
  std::vector<LogitFacts> facts;
  for (auto begin = input.targets.begin(); begin != input.targets.end();) {
    const std::int64_t first = begin->row;
    auto end = begin;
    std::int64_t last = first;
    while (end != input.targets.end() && end->row <= last + 1 && end->row < first + most) last = (end++)->row;
    const std::int64_t rows = last - first + 1;
    block.resize(static_cast<std::size_t>(rows) * vocab);
    logits(first, rows, block.data());
    facts.resize(static_cast<std::size_t>(rows));
    const auto row_of = [&](std::int64_t r) {
      return std::span(block).subspan(static_cast<std::size_t>(r) * vocab, vocab);
    };
    engine_.pool().parallel_for(
        rows, [&](std::int64_t r, int) { facts[static_cast<std::size_t>(r)] = logit_facts(row_of(r)); });
    for (; begin != end; ++begin)
      output.target_logprob.push_back(
          logprob_of(row_of(begin->row - first), facts[static_cast<std::size_t>(begin->row - first)], begin->id));
  }
}

void EngineModelRunner::read_logits(const RunInput& input, const LogitsOfRows& logits, RunOutput& output) {
  const auto vocab = static_cast<std::size_t>(info_.vocab_size);
  output.logits.resize(input.logit_rows.size() * vocab);
  for (std::size_t r = 0; r < input.logit_rows.size(); ++r) {
    const std::int64_t row =
        input.logit_rows[r] < 0 ? static_cast<std::int64_t>(input.ids.size()) - 1 : input.logit_rows[r];
    logits(row, 1, output.logits.data() + r * vocab);
  }
}

RunResult EngineModelRunner::run(const RunRequest& request, std::stop_token stop) {
  RunResult result;
  result.outputs.resize(request.inputs.size());
  result.capture = std::make_unique<capture::MemoryCapture>();
  std::vector<CaptureInput> inputs;
  for (std::size_t r = 0; r < request.inputs.size(); ++r) {
    check(request.inputs[r], r);
    inputs.push_back(capture_input(request.inputs[r], r));
  }
  capture::CaptureHeader header;
  header.model = info_;
  header.plan = request.plan;
  header.num_records = static_cast<std::int64_t>(inputs.size());

  CaptureExtras extras;
  intervention::Stack stack = always_;
  stack.insert(stack.end(), request.interventions.begin(), request.interventions.end());
  extras.interventions = stack;
  extras.base_statistics = request.base_statistics;
  extras.skip_failures = false;
  extras.unchanged = request.unchanged.get();
  extras.layers_skipped = [&](std::int64_t r, int first_layer) {
    result.capture->share_layers(*request.unchanged, r, first_layer);
  };
  extras.prompt_done = [&](std::size_t r, const LogitsOfRows& logits) {
    read_targets(request.inputs[r], logits, result.outputs[r]);
    read_logits(request.inputs[r], logits, result.outputs[r]);
  };
  run_capture(engine_, inputs, header, {}, *result.capture, {}, stop, extras);

  for (std::size_t r = 0; r < inputs.size(); ++r) {
    const capture::RecordInfo record = result.capture->record(static_cast<std::int64_t>(r));
    for (std::size_t i = request.inputs[r].ids.size(); i < record.header.tokens.size(); ++i)
      result.outputs[r].generated.push_back(record.header.tokens[i].id);
    result.outputs[r].generated_logprob = record.generated_logprob;
  }
  return result;
}

std::vector<std::vector<ScoreOutput>> EngineModelRunner::score(std::span<const ScoreInput> inputs,
                                                               std::span<const ScoreVariant> variants,
                                                               std::stop_token stop) {
  std::vector<ScoreVariant> filled(variants.begin(), variants.end());
  for (ScoreVariant& variant : filled) {
    if (variant.stacks.empty()) variant.stacks.emplace_back();
    for (intervention::Stack& stack : variant.stacks) stack.insert(stack.begin(), always_.begin(), always_.end());
  }
  return score_continuations(engine_.impl(), inputs, filled, stop);
}

}  // namespace

std::unique_ptr<ModelRunner> make_model_runner(Engine& engine, intervention::Stack always) {
  return std::make_unique<EngineModelRunner>(engine, std::move(always));
}

}  // namespace engine
}  // namespace headlight
