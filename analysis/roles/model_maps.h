#pragma once

#include <functional>

#include "analysis/roles/experiment.h"
#include "core/capture/capture_view.h"
#include "core/capture/replay.h"

namespace headlight::analysis {

/// A prompt to run and what to keep of it.
struct RecordedPrompt {
  std::vector<std::int32_t> ids;
  std::int64_t generate = 0;
  std::int64_t first_row = 0;       ///< rows from here on can be replayed
  std::int64_t local_window = 256;  ///< of the statistic `local`
  bool keep_queries = true;         ///< false: statistics only
  intervention::Stack interventions = {};
};
/// Runs one prompt: statistics of all heads, q and k of the rows.
RunResult record_prompt(const ExperimentContext& context, const RecordedPrompt& prompt);

/// Calls visit(index, rows) for every head in order, index = layer * H + head, with its exact attention in rows
/// [first, last) against keys [0, last). A fully masked row is 0.
/// @param rows  the visitor's data live until it returns
using MapVisitor = std::function<void(std::size_t index, std::span<const float> attn_ij)>;
void for_each_map(const ExperimentContext& context, const capture::CaptureView& view, std::int64_t first,
                  std::int64_t last, const MapVisitor& visit);

/// Mean of a recorded row statistic over rows [first, N), [L][H].
HeadValues mean_rows(const capture::CaptureView& view, std::string_view id, std::int64_t first);

/// Sliding window of every head's layer, [L][H]; 0 = none.
std::vector<std::int64_t> windows_of(const capture::CaptureView& view);

std::size_t num_heads_of(const capture::ModelInfo& model);

}  // namespace headlight::analysis
