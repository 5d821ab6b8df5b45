#include "analysis/findings/record_analysis.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace headlight::analysis {

RecordAnalysis analyze_record(
    const AnalysisInput& input, const heads::Headplan* headplan,
    const std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>& progress,
    std::stop_token stop) {
  RecordAnalysis found;
  std::vector<const Analysis*> chosen;
  for (const Analysis& one : analyses())
    if (one.by_default && !one.over_records) chosen.push_back(&one);
  for (std::size_t n = 0; n < chosen.size(); ++n) {
    if (progress) progress(chosen[n]->id, static_cast<std::int64_t>(n), static_cast<std::int64_t>(chosen.size()));
    std::vector<std::string_view> missing;
    for (const Need need : missing_needs(*chosen[n], input.capture, input.record)) missing.push_back(to_string(need));
    if (!missing.empty()) {
      found.not_available.push_back(fmt::format("{}: needs {}", chosen[n]->id, fmt::join(missing, ", ")));
      continue;
    }
    try {
      found.reports.push_back(run_analysis(*chosen[n], input, Json::object(), stop));
    } catch (const Error& error) {  // a text that is too short, heads that were not recorded
      if (error.code() != Errc::invalid_argument) throw;
      found.not_available.push_back(fmt::format("{}: {}", chosen[n]->id, error.message()));
    }
  }
  found.findings = findings({input.capture, input.record, found.reports, headplan}, stop);
  return found;
}

}  // namespace headlight::analysis
