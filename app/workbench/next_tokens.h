#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::workbench {

/// One candidate for the next token, before and after a change.
struct TokenChance {
  std::int32_t id = 0;
  double base = 0.0, changed = 0.0;     ///< probability, 0..1
  int base_rank = 0, changed_rank = 0;  ///< 0 = most likely; equal logits in the order of ids
};

/// Two next-token distributions p (base) and q (changed), natural logarithms:
///
///     H(p) = -sum p ln p,   KL(p || q) = sum p (ln p - ln q),   TV(p, q) = 1/2 sum |p - q|
struct NextTokens {
  std::vector<TokenChance> top;  ///< the first k of either, by falling max(base, changed); ties by id
  double base_entropy = 0.0, changed_entropy = 0.0;  ///< nats, 0..ln V
  double kl = 0.0;                                   ///< nats, >= 0; exactly 0 for equal logits
  double total_variation = 0.0;                      ///< 0..1
};

/// @param base, changed  logits [V] of equal size
NextTokens compare_next_tokens(std::span<const float> base, std::span<const float> changed, int k);

}  // namespace headlight::workbench
