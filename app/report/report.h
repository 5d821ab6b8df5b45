#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/analysis.h"
#include "analysis/findings/findings.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"
#include "core/heads/headplan.h"

namespace headlight::report {

struct ReportInput {
  const capture::CaptureView& capture;
  std::int64_t record = 0;
  const heads::Headplan* headplan = nullptr;  ///< adds roles
  std::string tool_version, command_line;     ///< for the provenance
  ThreadPool& pool;
};

/// What a report is made of; kept apart so that it can be counted and tested.
struct ReportContent {
  std::vector<analysis::AnalysisReport> reports;  ///< the default analyses that the capture supplies
  std::vector<std::string> not_available;         ///< "output-cka: needs qkv"
  std::vector<analysis::Finding> findings;
};

using Progress = std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>;

/// Runs the default analyses and the rules. @error cancelled
ReportContent collect(const ReportInput& input, const Progress& progress = {}, std::stop_token stop = {});

/// The report as one HTML page that needs nothing else: no script, no font, no picture from outside. Text of the
/// capture is escaped; control and direction characters are shown as code points.
/// @error cancelled
std::string to_html(const ReportInput& input, const ReportContent& content, std::stop_token stop = {});

}  // namespace headlight::report
