#pragma once

#include <vector>

#include "analysis/analysis.h"

namespace headlight::analysis {

// One maker per topic, in the folder of that name; analyses() lists them in this order.
std::vector<Analysis> sink_analyses();
std::vector<Analysis> entropy_analyses();
std::vector<Analysis> rope_analyses();
std::vector<Analysis> similarity_analyses();
std::vector<Analysis> attribution_analyses();
std::vector<Analysis> detection_analyses();
std::vector<Analysis> embedding_analyses();

}  // namespace headlight::analysis
