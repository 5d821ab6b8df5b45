#include "app/workbench/findings_list.h"

#include <algorithm>

#include "analysis/findings/record_analysis.h"

namespace headlight::workbench {

FindingsList find_in(const CaptureDocument& document, ThreadPool& pool, JobContext& job) {
  auto found = analysis::analyze_record(
      {document.view(), document.record_number(), pool}, nullptr,
      [&](std::string_view what, std::int64_t done, std::int64_t total) { job.progress(what, done, total); },
      job.stop());
  return {std::move(found.findings), std::move(found.not_available)};
}

Selection evidence_selection(const Finding& finding, const CaptureDocument& document, Selection now, std::size_t head) {
  const auto& evidence = finding.evidence;
  if (head < evidence.heads.size() && document.find(evidence.heads[head])) now.head = evidence.heads[head];
  if (!evidence.tokens.empty() && evidence.tokens[0] >= 0 && evidence.tokens[0] < document.num_tokens()) {
    now.key = evidence.tokens[0];
    now.query.reset();
  }
  return now;
}

std::string evidence_metric(const Finding& finding, const CaptureDocument& document) {
  const bool is_statistic = finding.evidence.analysis == "statistics";
  return is_statistic && document.find_statistic(finding.evidence.series) != nullptr ? finding.evidence.series
                                                                                     : std::string();
}

}  // namespace headlight::workbench
