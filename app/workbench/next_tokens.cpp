#include "app/workbench/next_tokens.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/largest_entries.h"

namespace headlight::workbench {
namespace {

/// ln sum_v exp(z_v)
double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float z : logits) sum += std::exp(z - largest);
  return largest + std::log(sum);
}

int rank_of(std::span<const float> logits, std::int32_t id) {
  const float own = logits[static_cast<std::size_t>(id)];
  int rank = 0;
  for (std::size_t v = 0; v < logits.size(); ++v)
    if (logits[v] > own || (logits[v] == own && static_cast<std::int32_t>(v) < id)) ++rank;
  return rank;
}

}  // namespace

NextTokens compare_next_tokens(std::span<const float> base, std::span<const float> changed, int k) {
  HEADLIGHT_CHECK(base.size() == changed.size() && !base.empty() && k >= 0);
  const double base_norm = log_sum_exp(base), changed_norm = log_sum_exp(changed);
  NextTokens result;
  for (std::size_t v = 0; v < base.size(); ++v) {
    const double lp = base[v] - base_norm, lq = changed[v] - changed_norm;
    const double p = std::exp(lp), q = std::exp(lq);
    if (p > 0.0) {
      result.base_entropy -= p * lp;
      result.kl += p * (lp - lq);
    }
    if (q > 0.0) result.changed_entropy -= q * lq;
    result.total_variation += std::abs(p - q) / 2.0;
  }
  result.kl = std::max(0.0, result.kl);  // rounding of nearly equal distributions

  std::vector<std::int32_t> ids = largest_entries(base, static_cast<std::size_t>(k));
  for (const std::int32_t id : largest_entries(changed, static_cast<std::size_t>(k)))
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  for (const std::int32_t id : ids)
    result.top.push_back({id, std::exp(base[static_cast<std::size_t>(id)] - base_norm),
                          std::exp(changed[static_cast<std::size_t>(id)] - changed_norm), rank_of(base, id),
                          rank_of(changed, id)});
  std::sort(result.top.begin(), result.top.end(), [](const TokenChance& a, const TokenChance& b) {
    const double pa = std::max(a.base, a.changed), pb = std::max(b.base, b.changed);
    return pa != pb ? pa > pb : a.id < b.id;
  });
  return result;
}

}  // namespace headlight::workbench
