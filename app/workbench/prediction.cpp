#include "app/workbench/prediction.h"

#include <fmt/format.h>

#include "app/workbench/prompt.h"

namespace headlight::workbench {
namespace {

std::string text_in(const CaptureDocument& document, std::int32_t id) {
  for (const auto& token : document.record().header.tokens)
    if (token.id == id && !token.piece.empty()) return token_label(token.piece);
  return {};
}

}  // namespace

Prediction prediction_of(const LiveResult& result) {
  return {result.next, result.token_texts, result.is_changed(), result.changed->seconds};
}

std::optional<Prediction> predict(const CaptureDocument& base, const CaptureDocument* changed, const ModelHost* model) {
  const std::vector<float>& before = base.last_logits();
  const std::vector<float>& after = changed != nullptr ? changed->last_logits() : before;
  if (before.empty() || before.size() != after.size()) return std::nullopt;
  Prediction prediction{compare_next_tokens(before, after, LiveSession::kTopTokens), {}, changed != nullptr, {}};
  const bool named = model != nullptr && model->info().vocab_size == std::ssize(before);
  for (const TokenChance& chance : prediction.next.top) {
    std::string text = named ? model->token_text(chance.id) : text_in(base, chance.id);
    if (text.empty() && changed != nullptr) text = text_in(*changed, chance.id);
    prediction.texts.push_back(text.empty() ? fmt::format("#{}", chance.id) : text);
  }
  return prediction;
}

}  // namespace headlight::workbench
