#include "analysis/builtin.h"
#include "analysis/entropy/makers.h"

namespace headlight::analysis {

std::vector<Analysis> entropy_analyses() {
  return {entropy_analysis(),          concentration_analysis(), span_analysis(),
          elastic_span_analysis(),     head_health_analysis(),   block_entropy_analysis(),
          layer_preference_analysis(), image_entropy_analysis()};
}

}  // namespace headlight::analysis
