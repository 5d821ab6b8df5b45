#include "analysis/evaluation/harm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "analysis/roles/token_data.h"
#include "analysis/undefined.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::size_t kGram = 4;

struct Loss {
  double sum = 0;
  std::int64_t tokens = 0;
  double mean() const { return tokens > 0 ? sum / static_cast<double>(tokens) : kUndefined; }
};

/// Of the continuations, from token `first` of each on.
Loss loss_of(ModelRunner& runner, const std::vector<ScoreInput>& inputs, const intervention::Stack& stack,
             std::size_t first, std::stop_token stop) {
  Loss loss;
  ScoreVariant variant;
  if (!stack.empty()) variant.stacks = {stack};
  const auto outputs = runner.score(inputs, std::span(&variant, 1), stop);
  for (const ScoreOutput& output : outputs[0])
    for (const auto& logprob : output.logprob)
      for (std::size_t t = first; t < logprob.size(); ++t) {
        loss.sum -= static_cast<double>(logprob[t]);
        ++loss.tokens;
      }
  return loss;
}

std::vector<std::int32_t> slice(std::span<const std::int32_t> ids, std::int64_t begin, std::int64_t count,
                                std::optional<std::int32_t> bos) {
  std::vector<std::int32_t> out;
  if (bos) out.push_back(*bos);
  const auto part = ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  out.insert(out.end(), part.begin(), part.end());
  return out;
}

Json number(double value) {
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

}  // namespace

double repeated_share(std::span<const std::int32_t> ids, std::size_t n) {
  if (ids.size() < n) return 0.0;
  std::set<std::vector<std::int32_t>> seen;
  double repeated = 0, count = 0;
  for (std::size_t k = 0; k + n <= ids.size(); ++k) {
    const auto gram = ids.subspan(k, n);
    repeated += !seen.insert({gram.begin(), gram.end()}).second;
    count += 1;
  }
  return repeated / count;
}

HarmInputs harm_inputs(std::span<const std::int32_t> text, std::span<const std::int32_t> pool,
                       std::optional<std::int32_t> bos, std::uint64_t seed, const HarmOptions& options) {
  HarmInputs inputs;
  inputs.generated = options.generated;
  for (std::int64_t at = 0; at + options.context + options.scored <= std::ssize(text); at += options.scored) {
    if (inputs.windows.size() == options.windows) break;
    inputs.windows.push_back(
        {slice(text, at, options.context, bos), {slice(text, at + options.context, options.scored, {})}});
  }
  const std::int64_t stride = std::ssize(text) / static_cast<std::int64_t>(std::max<std::size_t>(1, options.prompts));
  for (std::size_t k = 0; k < options.prompts && stride > options.prompt; ++k)
    inputs.prompts.push_back(slice(text, static_cast<std::int64_t>(k) * stride, options.prompt, bos));
  const TokenPool tokens{.bos = bos, .eligible = {pool.begin(), pool.end()}};
  for (std::size_t k = 0; k < options.repeats && pool.size() >= 2; ++k) {
    const RepeatedSequence sequence = repeated_sequence(tokens, options.period, seed, k);
    const auto half = sequence.ids.end() - static_cast<std::ptrdiff_t>(sequence.period);
    inputs.repeats.push_back({{sequence.ids.begin(), half}, {{half, sequence.ids.end()}}});
  }
  return inputs;
}

Harm measure_harm(ModelRunner& runner, const HarmInputs& inputs, const intervention::Stack& stack,
                  std::stop_token stop) {
  Harm harm{.perplexity = kUndefined, .induction_loss = kUndefined, .repetition = kUndefined};
  const Loss text = loss_of(runner, inputs.windows, stack, 0, stop);
  harm.perplexity = std::exp(text.mean());
  harm.text_tokens = text.tokens;
  const Loss repeats = loss_of(runner, inputs.repeats, stack, 1, stop);  // nobody can know where the repeat begins
  harm.induction_loss = repeats.mean();
  harm.repeat_tokens = repeats.tokens;
  if (inputs.prompts.empty()) return harm;
  RunRequest request;
  request.interventions = stack;
  request.plan.layers = {};
  request.plan.logits = capture::LogitsKept::none;
  for (const auto& ids : inputs.prompts)
    request.inputs.push_back({.ids = ids, .generate = inputs.generated, .targets = {}, .logit_rows = {}});
  harm.repetition = 0;
  for (const RunOutput& output : runner.run(request, stop).outputs) {
    harm.repetition += repeated_share(output.generated, kGram) / static_cast<double>(inputs.prompts.size());
    harm.generated_tokens += std::ssize(output.generated);
  }
  return harm;
}

Json to_json(const Harm& harm) {
  return {{"perplexity", number(harm.perplexity)},         {"text_tokens", harm.text_tokens},
          {"induction_loss", number(harm.induction_loss)}, {"repeat_tokens", harm.repeat_tokens},
          {"repetition", number(harm.repetition)},         {"generated_tokens", harm.generated_tokens}};
}

}  // namespace headlight::analysis
