#pragma once

#include <vector>

#include "analysis/analysis.h"

namespace headlight::analysis {

/// The analyses of detection_analyses() that hold attention against something known: marks, brackets, graphs, grids.
std::vector<Analysis> structure_analyses();

}  // namespace headlight::analysis
