#include "core/engine/logits.h"

#include <algorithm>
#include <cmath>

namespace headlight::engine {

LogitFacts logit_facts(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0, dot = 0.0;  // of e^(z - top), and of e^(z - top) (z - top)
  for (const float z : logits) {
    const float shifted = z - top;
    if (shifted < -100.0f) continue;  // below 1e-43 of the largest: nothing in f64 either
    const double e = static_cast<double>(std::exp(shifted));
    sum += e;
    dot += e * static_cast<double>(shifted);
  }
  LogitFacts facts;
  facts.log_sum = static_cast<double>(top) + std::log(sum);
  facts.entropy = static_cast<float>(std::max(0.0, std::log(sum) - dot / sum));
  return facts;
}

void top_ids(std::span<const float> logits, std::span<std::int32_t> ids) {
  std::size_t count = 0;
  for (std::size_t v = 0; v < logits.size(); ++v) {
    if (count == ids.size() && !(logits[v] > logits[static_cast<std::size_t>(ids[count - 1])])) continue;
    std::size_t place = count < ids.size() ? count++ : count - 1;
    while (place > 0 && logits[v] > logits[static_cast<std::size_t>(ids[place - 1])]) {
      ids[place] = ids[place - 1];
      --place;
    }
    ids[place] = static_cast<std::int32_t>(v);
  }
}

}  // namespace headlight::engine
