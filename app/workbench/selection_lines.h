#pragma once

#include <optional>
#include <vector>

#include "app/workbench/capture_document.h"
#include "app/workbench/map_tiles.h"

namespace headlight::workbench {

/// What the selected head says along the text; for MapSide::difference every number is changed minus base.
struct SelectionLines {
  std::optional<AttentionLine> row;     ///< A[i, :] of the selected query
  std::optional<AttentionLine> column;  ///< A[:, j] of the selected key
  std::vector<float> received;          ///< [N] mean attention each token gets from this head; empty = not recorded
};

/// Nothing without a head, and no difference of different texts. Lines that the capture cannot give (level summary
/// beyond its blocks) are left out.
SelectionLines lines_of(const Selection& selection, MapSide side, const CaptureDocument& base,
                        const CaptureDocument* changed, ThreadPool& pool);

}  // namespace headlight::workbench
