#pragma once

#include "analysis/analysis.h"
#include "core/intervention/method.h"
#include "plugins/sdk/headlight_plugin.h"

namespace headlight::plugins {

/// What a library describes, as the program's own types. What they point to belongs to the library.
/// @error bad_format  no id, no function, a parameter without a name, an intervention without an identity setting
intervention::Method method_of(const headlight_intervention& from);
analysis::Analysis analysis_of(const headlight_analysis& from);

}  // namespace headlight::plugins
