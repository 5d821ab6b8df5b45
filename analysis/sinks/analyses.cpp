#include "analysis/builtin.h"
#include "analysis/sinks/makers.h"

namespace headlight::analysis {

std::vector<Analysis> sink_analyses() {
  return {epsilon_sink_analysis(),    hidden_sinks_analysis(),        window_mass_analysis(),
          secondary_sinks_analysis(), massive_activations_analysis(), value_drain_analysis(),
          sink_logit_analysis(),      dormant_heads_analysis(),       active_dormant_analysis(),
          column_entropy_analysis(),  sink_rate_length_analysis(),    over_mixing_analysis(),
          rank_collapse_analysis(),   perturbation_spread_analysis(), sink_audit_analysis(),
          moving_sinks_analysis(),    visual_sinks_analysis(),        sink_census_analysis()};
}

}  // namespace headlight::analysis
