#pragma once

#include "analysis/analysis.h"

namespace headlight::analysis {

// The analyses of this folder, in the order of the documentation.
Analysis entropy_analysis();
Analysis concentration_analysis();
Analysis span_analysis();
Analysis elastic_span_analysis();
Analysis head_health_analysis();
Analysis block_entropy_analysis();
Analysis layer_preference_analysis();
Analysis image_entropy_analysis();

}  // namespace headlight::analysis
