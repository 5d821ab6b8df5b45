#include "core/intervention/contrast.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace headlight::intervention {

void combine_logits(const Contrast& contrast, std::span<float> logits, std::span<const std::vector<float>> branches) {
  if (logits.empty()) return;
  const double least = static_cast<double>(*std::max_element(logits.begin(), logits.end())) +
                       (contrast.cutoff > 0.0 ? std::log(contrast.cutoff) : -std::numeric_limits<double>::infinity());
  const double own = 1.0 + contrast.gamma * static_cast<double>(branches.size());
  for (std::size_t v = 0; v < logits.size(); ++v) {
    const auto l = static_cast<double>(logits[v]);
    double others = 0.0;
    for (const std::vector<float>& branch : branches) {
      HEADLIGHT_CHECK(branch.size() == logits.size());
      others += static_cast<double>(branch[v]);
    }
    const bool cut = l < least;
    if (contrast.gamma != 0.0) logits[v] = static_cast<float>(own * l - contrast.gamma * others);
    if (cut) logits[v] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace headlight::intervention
