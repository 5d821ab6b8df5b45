#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/findings/findings.h"

namespace headlight::analysis {

/// What the default analyses and the rules say of one record.
struct RecordAnalysis {
  std::vector<AnalysisReport> reports;     ///< the default analyses that the capture supplies
  std::vector<std::string> not_available;  ///< "output-cka: needs qkv"
  std::vector<Finding> findings;
};

/// Runs the default analyses of single records, then the rules on their reports.
/// @param progress  called before each analysis with its id
/// @error cancelled
RecordAnalysis analyze_record(
    const AnalysisInput& input, const heads::Headplan* headplan = nullptr,
    const std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>& progress = {},
    std::stop_token stop = {});

}  // namespace headlight::analysis
