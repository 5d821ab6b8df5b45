#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/workbench/capture_document.h"

namespace headlight::workbench {

/// A head statistic as dashboards show it: recorded value times factor.
struct Measure {
  std::string_view id;     ///< of the statistic
  std::string_view title;  ///< "Entropy"
  std::string_view unit;   ///< "bit"; empty for shares
  double factor = 1.0;     ///< 1 / ln 2 for entropies: bits
};
/// Mass on the first token, entropy in bits, mean distance looked back.
std::span<const Measure> dashboard_measures();

/// One value per head, [recorded layers][H]; empty when the statistic is not there.
std::vector<float> values_of(const CaptureDocument& document, const Measure& measure);

/// Over the heads of every layer of the model, NaN where nothing is recorded or defined.
struct LayerCurves {
  std::vector<float> mean_l, low_l, high_l;  ///< mean, smallest and largest of the heads
};
LayerCurves layer_curves(const CaptureDocument& document, const Measure& measure);

/// A token that is looked at much, before and after.
struct SinkRow {
  std::int64_t position = 0;
  float base = 0.0f;             ///< mean of received_mean over all recorded heads, 0..1
  std::optional<float> changed;  ///< absent without a second side, or when its tokens are others
  int heads_above = 0;           ///< heads of the shown side that give it at least kSinkShare on average
  HeadId strongest;              ///< of the shown side
  float largest = 0.0f;          ///< what that head gives
};

/// The `most` tokens with the largest mass of either side, of those that analysis::sink_min_rows() rows see. Ties by
/// position.
/// @param shown_is_changed  heads are those of `changed`
std::vector<SinkRow> sink_rows(const CaptureDocument& base, const CaptureDocument* changed, bool shown_is_changed,
                               std::size_t most);

}  // namespace headlight::workbench
