#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Attention of the last w rows W on the K keys before them, per layer summed over heads; weights are not renormalised:
///
///     dispersion  Hc = -sum_h sum_{i in W} sum_{j < K} A_ij ln(A_ij + 1e-10)
///     shift       Vc =  sum_h sum_{j < K} Var_{i in W}(A_ij)                      (divided by w - 1)
///     kurtosis    Kc =  sum_h sum_{j < K} m4_j / max(m2_j, 1e-8)^2                (moments divided by w)
///
/// Sources: CAKE: Cascading and Adaptive KV Cache Eviction with Layer Preferences (Hc, Vc); ARKV (Kc).
/// Sums grow with heads and keys: only ratios between layers mean something. Most m2 are below 1e-8, so the clamp
/// decides Kc; `clamped` is the share of keys it applies to.
struct WindowMoments {
  double dispersion = 0.0, shift = 0.0, kurtosis = 0.0, clamped = 0.0;
};
/// @param attn_ij  rows of one head, [w][num_keys], keys before the window
WindowMoments window_moments(std::span<const float> attn_ij, std::int64_t num_keys);

/// Preference of a layer, P = Hc^(1/tau1) Vc^(1/tau2).
double cake_preference(double dispersion, double shift, double tau1, double tau2);
/// Score of a layer, OQ = Hc^(1/tau1) Vc^(1/tau2) Kc^(1/tau3); divided by the largest of the model it is the share of
/// tokens kept in full precision.
double arkv_score(const WindowMoments& layer, double tau1 = 7.774381, double tau2 = 5.407015, double tau3 = 5.527703);

/// Tokens each layer keeps beside its window, for a mean budget of `budget` tokens per layer (window included):
/// b_l = P_l / sum P (budget - w) L, at most K; what is over is spread evenly, and rounding is settled so that the sum
/// is exact. @return [layers]
std::vector<std::int64_t> cake_budgets(std::span<const double> preference_l, std::int64_t budget, std::int64_t window,
                                       std::int64_t num_keys);

/// Which keys a head would keep: I_j = mean_{i in W} A_ij + gamma Var_{i in W}(A_ij), before pooling. [num_keys]
std::vector<double> eviction_indicator(std::span<const float> attn_ij, std::int64_t num_keys, double gamma = 200.0);
/// Average over `width` neighbours, zeros beyond the ends and divided by `width` there too.
std::vector<double> average_pool(std::span<const double> values, int width = 5);

}  // namespace headlight::analysis
