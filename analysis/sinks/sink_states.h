#pragma once

#include <utility>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/sinks/secondary_sinks.h"

namespace headlight::analysis {

/// Secondary sinks of a record: primary sink and cosines from the recorded facts, or from the states where they are
/// kept and the primary sink is not the first token.
struct SinkStates {
  std::int64_t primary = 0;
  bool first_only = false;     ///< another candidate was larger, and the capture has no states to follow it
  std::vector<double> norm_m;  ///< of the primary sink, [L]
  SecondarySinks sinks;
};
SinkStates sink_states(const AnalysisInput& input, int num_candidates, const SecondarySinkOptions& options,
                       const std::stop_token& stop);

/// Sink channels and phi of a record with states, over the inputs of layers >= 2.
struct SinkChannels {
  std::vector<int> channels;
  double tau = 0.0;
  std::vector<std::pair<double, int>> token_t;   ///< largest phi, number of layers above tau; [N]
  std::vector<int> first_layer_t, last_layer_t;  ///< above tau, -1 = none
  std::vector<double> largest() const;
};
SinkChannels sink_channels(const AnalysisInput& input, const Json& params, const std::stop_token& stop);

}  // namespace headlight::analysis
