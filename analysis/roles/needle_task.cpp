#include "analysis/roles/needle_task.h"

#include <algorithm>

namespace headlight::analysis {

bool can_make_needles(const RoleInputs& inputs) {
  if (inputs.codec) return !inputs.needles.empty();
  return inputs.token_needle || std::ssize(inputs.pool.eligible) >= kTokenNeedleTokens + 4;
}

NeedleSample make_needle(const RoleInputs& inputs, std::size_t index, std::int64_t length, double depth) {
  if (!inputs.codec) {
    const TokenNeedle parts = inputs.token_needle
                                  ? *inputs.token_needle
                                  : draw_token_needle(inputs.pool, kTokenNeedleTokens, inputs.seed, index);
    return token_needle_sample(inputs.pool, parts, length, depth, inputs.seed, index);
  }
  std::vector<std::int32_t> haystack = inputs.codec.encode(inputs.haystack);
  const std::vector<std::int32_t> once = haystack;
  while (std::ssize(haystack) < length) haystack.insert(haystack.end(), once.begin(), once.end());
  return text_needle_sample(inputs.codec, inputs.pool, haystack, inputs.needles[index % inputs.needles.size()], length,
                            depth);
}

std::int64_t answer_budget(const NeedleSample& needle) {
  return std::min(kMostAnswerTokens, needle.answer.size() + 12);
}

std::vector<std::int32_t> answer_of(const RoleInputs& inputs, const NeedleSample& needle,
                                    std::vector<std::int32_t> generated) {
  for (std::size_t t = 0; t < generated.size(); ++t) {
    const bool stop = std::find(needle.stop_ids.begin(), needle.stop_ids.end(), generated[t]) != needle.stop_ids.end();
    if (stop) generated.resize(t + 1);
    if (inputs.codec && inputs.codec.decode(std::span(&generated[t], 1)).find('\n') != std::string::npos)
      generated.resize(t);
  }
  return generated;
}

double needle_recall(const RoleInputs& inputs, const NeedleSample& needle, std::span<const std::int32_t> outputs) {
  if (inputs.codec) return rouge1_recall(inputs.codec.decode(outputs), needle.answer_text);
  double found = 0;
  for (std::int64_t k = 0; k < std::min(needle.answer.size(), std::ssize(outputs)); ++k)
    found += outputs[static_cast<std::size_t>(k)] == needle.ids[static_cast<std::size_t>(needle.answer.begin + k)];
  return found / static_cast<double>(needle.answer.size());
}

}  // namespace headlight::analysis
