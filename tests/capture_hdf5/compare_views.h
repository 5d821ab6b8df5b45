#pragma once

#include "core/capture/capture_view.h"

namespace headlight::capture {

struct CompareOptions {
  bool row_data = true;    ///< false: a stacked corpus, which keeps values per head
  std::int64_t rows = -1;  ///< compare only the first rows (a recovered capture)
};

/// Expects that two captures hold the same record: every statistic, operand, map and fact, bit for bit where the file
/// keeps the type, within the type's precision elsewhere.
void expect_same_record(const CaptureView& expected, const CaptureView& found, std::int64_t r,
                        const CompareOptions& options = {});

}  // namespace headlight::capture
