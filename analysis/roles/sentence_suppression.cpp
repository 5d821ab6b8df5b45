#include "analysis/roles/sentence_suppression.h"

#include <limits>

#include "analysis/roles/sentences.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

/// Logits of rows [first, N), [N - first][V].
std::vector<float> logits_from(const ExperimentContext& context, const std::vector<std::int32_t>& ids,
                               std::int64_t first, intervention::Stack stack) {
  RunRequest request;
  request.plan.layers = {};
  request.plan.logits = capture::LogitsKept::none;
  request.interventions = std::move(stack);
  RunInput input{.ids = ids, .generate = 0, .targets = {}, .logit_rows = {}};
  for (std::int64_t row = first; row < std::ssize(ids); ++row) input.logit_rows.push_back(row);
  request.inputs.push_back(std::move(input));
  return std::move(context.runner.run(request, context.stop).outputs[0].logits);
}

/// Hides a sentence from the rows after it.
intervention::Intervention hide(TokenSpan sentence, std::int64_t num_tokens) {
  intervention::Intervention mask = intervention::mask_keys(sentence.begin, sentence.end);
  mask.scope.rows = {.kind = intervention::RowScope::Kind::range, .begin = sentence.end, .end = num_tokens};
  return mask;
}

}  // namespace

std::vector<double> suppress_sentences(const ExperimentContext& context, const std::vector<std::int32_t>& ids,
                                       std::span<const TokenSpan> sentences) {
  const std::size_t m = sentences.size();
  const auto vocab = static_cast<std::size_t>(context.runner.model().vocab_size);
  std::vector<double> effect_ab(m * m, std::numeric_limits<double>::quiet_NaN());
  for (const TokenSpan& sentence : sentences)
    if (sentence.begin < 0 || sentence.size() <= 0 || sentence.end > std::ssize(ids))
      throw Error(Errc::invalid_argument, "a sentence lies outside the text");
  const auto base = logits_from(context, ids, 0, {});
  for (std::size_t b = 0; b + 1 < m; ++b) {
    const std::int64_t first = sentences[b].end;
    const auto masked = logits_from(context, ids, first, {hide(sentences[b], std::ssize(ids))});
    for (std::size_t a = b + 1; a < m; ++a) {
      double sum = 0;
      for (std::int64_t i = sentences[a].begin; i < sentences[a].end; ++i)
        sum += suppression_effect(std::span(base).subspan(static_cast<std::size_t>(i) * vocab, vocab),
                                  std::span(masked).subspan(static_cast<std::size_t>(i - first) * vocab, vocab));
      effect_ab[a * m + b] = sum / static_cast<double>(sentences[a].size());
    }
  }
  return effect_ab;
}

}  // namespace headlight::analysis
