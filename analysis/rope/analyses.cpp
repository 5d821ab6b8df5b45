#include "analysis/builtin.h"
#include "analysis/rope/makers.h"

namespace headlight::analysis {

std::vector<Analysis> rope_analyses() {
  return {frequency_usage_analysis(), positional_heads_analysis(), rope_what_if_analysis(), matrix_entropy_analysis(),
          causal_pattern_analysis()};
}

}  // namespace headlight::analysis
