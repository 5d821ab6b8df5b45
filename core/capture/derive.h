#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "core/capture/capture_view.h"
#include "kernels/attention.h"

namespace headlight::capture {

/// Which rows see which keys in one recorded layer of a record.
struct LayerGeometry {
  kernels::AttentionMask mask;
  std::int64_t num_rows = 0;    ///< rows = keys
  bool has_null_logit = false;  ///< a learned sink is one more outcome of every row

  std::int64_t visible_keys(std::int64_t row) const;  ///< n_i
  std::int64_t visible_rows(std::int64_t key) const;  ///< c_j
  /// Keys that some row of [begin, end) sees: one contiguous range.
  kernels::KeyRange visible_to_rows(std::int64_t begin, std::int64_t end) const;
  /// Number of visible (row, key) pairs inside rows x columns.
  std::int64_t visible_pairs(kernels::KeyRange rows, kernels::KeyRange columns) const;
};

/// Geometry of the layer with index `layer` among the recorded ones.
LayerGeometry layer_geometry(const RecordHeader& header, std::int64_t num_rows, int layer);
inline LayerGeometry layer_geometry(const RecordInfo& record, int layer) {
  return layer_geometry(record.header, record.num_rows, layer);
}

/// Recorded statistic by id, [num_heads][num_rows]; what a capture stores.
using StoredStatistic = std::function<Buffer<float>(std::string_view id)>;

/// Row or column statistic, recorded or derived (the formulas are in the registry), [num_heads][num_rows].
/// NaN = not recorded, or undefined there (entropy_normalized of a row with one outcome).
/// @error invalid_argument  unknown id, or a head statistic
Buffer<float> derive_statistic(std::string_view id, const LayerGeometry& geometry, int num_heads,
                               const StoredStatistic& stored);

/// Head value of any statistic, [num_heads]: a head statistic by its formula, a row statistic as the mean over valid
/// rows, a column statistic as the mean over keys that some row sees. A row is valid when it sees a key; rows with a
/// single visible key are left out where StatisticInfo::mean_counts_first_row is false. Sums in float64, NaN values
/// skipped; NaN when nothing is left.
/// @error invalid_argument  unknown id, or jmax (a mean of positions means nothing)
Buffer<float> derive_head_statistic(std::string_view id, const LayerGeometry& geometry, int num_heads,
                                    const StoredStatistic& stored);

/// `recorded` and what can be derived from it, in the order of the registry.
std::vector<std::string> with_derived_statistics(const std::vector<std::string>& recorded);

}  // namespace headlight::capture
