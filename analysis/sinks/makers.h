#pragma once

#include <string_view>

#include "analysis/analysis.h"

namespace headlight::analysis {

inline constexpr std::string_view kActiveDormant =
    "Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs";

// The analyses of this folder, in the order of the documentation.
Analysis epsilon_sink_analysis();
Analysis hidden_sinks_analysis();
Analysis window_mass_analysis();
Analysis secondary_sinks_analysis();
Analysis massive_activations_analysis();
Analysis value_drain_analysis();
Analysis sink_logit_analysis();
Analysis dormant_heads_analysis();
Analysis active_dormant_analysis();
Analysis column_entropy_analysis();
Analysis sink_rate_length_analysis();
Analysis over_mixing_analysis();
Analysis rank_collapse_analysis();
Analysis perturbation_spread_analysis();
Analysis sink_audit_analysis();
Analysis moving_sinks_analysis();
Analysis visual_sinks_analysis();
Analysis sink_census_analysis();

}  // namespace headlight::analysis
