#pragma once

#include <cstdint>
#include <span>

namespace headlight::engine {

/// The next-token distribution softmax(z) in numbers.
struct LogitFacts {
  double log_sum = 0.0;  ///< ln sum_v exp(z_v): ln p_v = z_v - log_sum
  float entropy = 0.0f;  ///< -sum_v p_v ln p_v, nats
};
LogitFacts logit_facts(std::span<const float> logits);

/// Natural log-probability of an id.
inline float logprob_of(std::span<const float> logits, const LogitFacts& facts, std::int32_t id) {
  return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - facts.log_sum);
}

/// The ids.size() largest logits in descending order, ties to the smaller id. logits.size() >= ids.size().
void top_ids(std::span<const float> logits, std::span<std::int32_t> ids);

}  // namespace headlight::engine
