#pragma once

#include "analysis/analysis.h"

namespace headlight::analysis {

/// Adds an analysis behind the built-in ones, for the rest of the program. Before analyses() is used by other threads.
/// @error bad_format  the id is taken
void register_analysis(Analysis analysis);

}  // namespace headlight::analysis
