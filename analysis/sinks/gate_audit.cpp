#include "analysis/sinks/gate_audit.h"

#include <algorithm>

#include "analysis/analysis.h"
#include "base/error.h"

namespace headlight::analysis {

GateStatistics gate_statistics(std::span<const double> gate_i, std::span<const double> first_i) {
  HEADLIGHT_CHECK(gate_i.size() == first_i.size());
  GateStatistics out{
      .mean = 0.0, .closed = 0.0, .first = 0.0, .effective_first = 0.0, .histogram = std::vector<int>(10, 0)};
  const double n = gate_i.empty() ? kUndefined : static_cast<double>(gate_i.size());
  for (std::size_t i = 0; i < gate_i.size(); ++i) {
    out.mean += gate_i[i];
    out.closed += gate_i[i] < 0.1 ? 1.0 : 0.0;
    out.first += first_i[i];
    out.effective_first += gate_i[i] * first_i[i];
    ++out.histogram[static_cast<std::size_t>(std::clamp(static_cast<int>(gate_i[i] * 10.0), 0, 9))];
  }
  for (double* value : {&out.mean, &out.closed, &out.first, &out.effective_first}) *value /= n;
  return out;
}

}  // namespace headlight::analysis
