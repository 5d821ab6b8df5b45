#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/analysis.h"
#include "core/heads/headplan.h"

namespace headlight::analysis {

/// Where a statement can be checked.
struct Evidence {
  std::string analysis;              ///< id of an analysis, "statistics" or "headplan"
  std::string series;                ///< of its report, or statistic id
  std::vector<heads::HeadId> heads;  ///< layers of the model; strongest first, at most 12
  std::vector<std::int64_t> tokens;  ///< positions the statement names
  std::int64_t record = 0;
};

/// One plain statement about a record.
struct Finding {
  std::string rule;            ///< id of the rule: "streaming-heads"
  double weight = 0.0;         ///< 0..1, how far the numbers are from nothing special; decides the order
  bool nothing_found = false;  ///< the rule looked and found nothing, which is a result too
  std::string statement;       ///< one sentence with its numbers
  std::string meaning;         ///< one sentence: how to read it, and what it does not show
  Evidence evidence;
};

struct FindingsInput {
  const capture::CaptureView& capture;
  std::int64_t record = 0;
  std::span<const AnalysisReport> reports;    ///< of this record; rules that need a missing one stay silent
  const heads::Headplan* headplan = nullptr;  ///< roles, when there are any
};

/// A rule turns numbers into at most a few statements. Pure; it reads head and row statistics or one report.
struct FindingRule {
  std::string_view id;
  std::string_view condition;  ///< the thresholds, in words, for documentation and reports
  std::vector<Finding> (*apply)(const FindingsInput& input);
};

/// Every rule, in the order of the documentation.
const std::vector<FindingRule>& finding_rules();

/// Statements of all rules: what was found by falling weight (ties in the order of the rules), then what was not.
std::vector<Finding> findings(const FindingsInput& input, std::stop_token stop = {});

/// {"rule","weight","nothing_found","statement","meaning","evidence":{"analysis","series","heads","tokens","record"}}
Json to_json(const Finding& finding);

/// Rows that must see a key before it can be called a sink: max(8, N / 8). Keys near the end of a text are seen by near
/// rows only, which give them much whatever they are.
inline std::int64_t sink_min_rows(std::int64_t num_rows) {
  return num_rows / 8 > 8 ? num_rows / 8 : 8;
}

/// Series or table of the reports; null when it is not there.
const Series* find_series(std::span<const AnalysisReport> reports, std::string_view analysis, std::string_view series);
const Table* find_table(std::span<const AnalysisReport> reports, std::string_view analysis, std::string_view table);

}  // namespace headlight::analysis
