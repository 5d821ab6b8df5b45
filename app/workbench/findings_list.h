#pragma once

#include <string>
#include <vector>

#include "analysis/findings/findings.h"
#include "app/workbench/capture_document.h"
#include "app/workbench/job_queue.h"
#include "app/workbench/selection.h"

namespace headlight::workbench {

using analysis::Finding;

/// The findings of a record, as `headlight report` and `headlight analyze --findings` print them.
struct FindingsList {
  std::vector<Finding> findings;           ///< what was found by falling weight, then what was not
  std::vector<std::string> not_available;  ///< analyses that the capture does not supply: "output-cka: needs qkv"
};

/// Runs the default analyses and the rules; says through the job which analysis works. @error cancelled
FindingsList find_in(const CaptureDocument& document, ThreadPool& pool, JobContext& job);

/// What a view looks at when evidence is followed: head number `head` of the finding, and the first token it names as
/// key. What the evidence does not name, or the document does not hold, stays as it is.
Selection evidence_selection(const Finding& finding, const CaptureDocument& document, Selection now,
                             std::size_t head = 0);

/// The head statistic a finding speaks of; empty when its evidence is something else.
std::string evidence_metric(const Finding& finding, const CaptureDocument& document);

}  // namespace headlight::workbench
