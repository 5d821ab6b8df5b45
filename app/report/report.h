#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "analysis/findings/record_analysis.h"
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

/// The report as one HTML page that needs nothing else: no script, no font, no picture from outside. Text of the
/// capture is escaped; control and direction characters are shown as code points.
/// @error cancelled
std::string to_html(const ReportInput& input, const analysis::RecordAnalysis& content, std::stop_token stop = {});

}  // namespace headlight::report
