#pragma once

#include "analysis/analysis.h"

namespace headlight::analysis {

// The analyses of this folder, in the order of the documentation.
Analysis frequency_usage_analysis();
Analysis positional_heads_analysis();
Analysis rope_what_if_analysis();
Analysis matrix_entropy_analysis();
Analysis causal_pattern_analysis();

}  // namespace headlight::analysis
