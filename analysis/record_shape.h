#pragma once

#include <string>
#include <vector>

#include "analysis/analysis.h"
#include "core/capture/derive.h"

namespace headlight::analysis {

/// Sizes of the record an analysis looks at.
struct RecordShape {
  int num_layers = 0;  ///< recorded ones
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::int64_t num_rows = 0;   ///< N
  std::int64_t first_key = 0;  ///< p, the first token that is not padding
  std::vector<int> layers;     ///< numbers of the recorded layers in the model
  std::vector<capture::LayerGeometry> geometry_l;

  int kv_head(int head) const { return head * num_kv_heads / num_heads; }
  std::size_t num_cells() const { return static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_heads); }
};
RecordShape record_shape(const capture::CaptureView& capture, std::int64_t record);
inline RecordShape record_shape(const AnalysisInput& input) {
  return record_shape(input.capture, input.record);
}

/// One value per recorded layer and head, [L][H].
Series head_series(std::string id, std::string unit, std::string formula, const RecordShape& shape,
                   std::vector<double> values_lh, double low = 0.0, double high = 1.0);

/// A single number.
Series number_series(std::string id, std::string unit, std::string formula, double value, double low = 0.0,
                     double high = 1.0);

/// "L14H3" of the cell at index `cell` of an [L][H] array.
std::string cell_name(const RecordShape& shape, std::size_t cell);

/// Text of a token for tables: its piece with control characters escaped.
std::string token_text(const capture::RecordHeader& header, std::int64_t position);

/// @error cancelled
void check_stop(const std::stop_token& stop);

/// Mean of the values that are not NaN; NaN when there is none. Sums in order, in float64.
double mean_defined(std::span<const double> values);

}  // namespace headlight::analysis
