#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace headlight::analysis {

/// Shares of heads by mean entropy, in quarters of the largest mean entropy in the model (or of ln N, `strict`):
/// [0, 1/4), [1/4, 1/2), [1/2, 3/4), [3/4, 1]. Much in the top quarter of early layers: entropic overload; near zero in
/// late layers: entropy collapse. Source: Entropy-Guided Attention for Private LLMs.
/// @param entropy_lh  mean row entropy of each head, nats, [heads]; NaN is left out
std::array<double, 4> entropy_bands(std::span<const double> entropy_lh, double maximum);

/// Health of one head. The paper publishes no thresholds; these are ours.
struct HealthOptions {
  double overloaded = 0.9;  ///< mean normalised entropy at or above
  double collapsed = 0.05;  ///< at or below, and the head is no sink
  double sink = 0.5;        ///< mass on the first tokens from which a collapsed head is a sink head
};
enum class Health { healthy, overloaded, collapsed, sink, undefined };
std::string_view to_string(Health health);
Health head_health(double normalized_entropy, double sink_mass, const HealthOptions& options = {});

/// Alarm over the model: overloaded heads hold at least 25 % of the first third of the layers, or collapsed ones at
/// least 10 % of the last third. @param health_lh [L][H]
struct HealthAlarm {
  double overloaded_early = 0.0, collapsed_late = 0.0;  ///< shares
  bool raised = false;
};
HealthAlarm health_alarm(std::span<const Health> health_lh, int num_layers, int num_heads);

/// Deviation that the paper's regulariser would charge a head for, mean over its rows of
///
///     1[ |H_i - theta ln N| > gamma ln N ] (H_i - theta ln N)^2,     gamma = 0.20
double entropy_penalty(std::span<const double> entropy_i, double max_entropy, double theta = 0.5, double gamma = 0.2);

}  // namespace headlight::analysis
