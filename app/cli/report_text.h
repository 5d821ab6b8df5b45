#pragma once

#include <string>

#include "analysis/analysis.h"
#include "analysis/findings/findings.h"

namespace headlight::cli {

/// A report for people: parameters, every series in a line or two (its values when there are few, else range, mean and
/// where the largest are), the first rows of every table, and the caveats.
/// @param layers  model numbers of the recorded layers, to name heads
std::string report_text(const analysis::Analysis& analysis, const analysis::AnalysisReport& report,
                        const std::vector<int>& layers);

/// Comma-separated values with a header line; cells with commas, quotes or line breaks are quoted.
std::string table_csv(const analysis::Table& table);

/// One line or two about an analysis, and one per parameter: `analyze --list`.
std::string describe(const analysis::Analysis& analysis);

/// Statements with their meaning and evidence; "*" = found, "-" = looked for and not found.
std::string findings_text(const std::vector<analysis::Finding>& findings);

}  // namespace headlight::cli
