#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/report/report.h"
#include "base/error.h"

namespace headlight::report {

ReportContent collect(const ReportInput& input, const Progress& progress, std::stop_token stop) {
  ReportContent content;
  std::vector<const analysis::Analysis*> chosen;
  for (const auto& one : analysis::analyses())
    if (one.by_default && !one.over_records) chosen.push_back(&one);
  for (std::size_t n = 0; n < chosen.size(); ++n) {
    if (progress) progress(chosen[n]->id, static_cast<std::int64_t>(n), static_cast<std::int64_t>(chosen.size()));
    std::vector<std::string_view> missing;
    for (const auto need : analysis::missing_needs(*chosen[n], input.capture, input.record))
      missing.push_back(to_string(need));
    if (!missing.empty()) {
      content.not_available.push_back(fmt::format("{}: needs {}", chosen[n]->id, fmt::join(missing, ", ")));
      continue;
    }
    try {
      content.reports.push_back(
          run_analysis(*chosen[n], {input.capture, input.record, input.pool}, Json::object(), stop));
    } catch (const Error& error) {  // a text that is too short, heads that were not recorded
      if (error.code() != Errc::invalid_argument) throw;
      content.not_available.push_back(fmt::format("{}: {}", chosen[n]->id, error.message()));
    }
  }
  content.findings = analysis::findings({input.capture, input.record, content.reports, input.headplan}, stop);
  return content;
}

}  // namespace headlight::report
