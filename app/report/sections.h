#pragma once

#include <string>

#include "app/report/report.h"

namespace headlight::report {

// Parts of the page, in its order. Each returns finished HTML, "" when it has nothing to show.

std::string title_section(const ReportInput& input);
std::string findings_section(const analysis::RecordAnalysis& content);
std::string grids_section(const ReportInput& input);
std::string text_section(const ReportInput& input);
std::string sinks_section(const ReportInput& input);
std::string maps_section(const ReportInput& input, const analysis::RecordAnalysis& content, std::stop_token stop);
std::string analyses_section(const analysis::RecordAnalysis& content);
std::string formulas_section(const analysis::RecordAnalysis& content);
std::string provenance_section(const ReportInput& input);

}  // namespace headlight::report
