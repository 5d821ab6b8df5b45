#include "core/capture_hdf5/head_means.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/capture/derive.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/layout.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct NotRecorded {};

Buffer<float> padded(const float* values, std::int64_t stride, int heads, std::int64_t begin, std::int64_t count,
                     std::int64_t total) {
  if (values == nullptr) throw NotRecorded();
  Buffer<float> out(static_cast<std::size_t>(heads * total), kNan);
  for (int h = 0; h < heads; ++h) std::copy_n(values + h * stride, count, out.data() + h * total + begin);
  return out;
}

}  // namespace

HeadMeans::HeadMeans(const CaptureHeader& header, const RecordHeader& record)
    : record_(record),
      heads_(header.model.num_heads),
      cells_(header.plan.layers.size() * static_cast<std::size_t>(heads_)) {}

void HeadMeans::add_rows(const LayerRows& rows) {
  const bool causal = record_.layers[static_cast<std::size_t>(rows.index)].causal;
  const std::int64_t end = rows.row_begin + rows.num_rows, total = causal ? end : std::max(end, record_.num_rows);
  const LayerGeometry geometry = layer_geometry(record_, total, rows.index);
  const auto stored = [&](std::string_view id) {
    return padded(row_values(rows, id), rows.row_stride, heads_, rows.row_begin, rows.num_rows, total);
  };
  for (const StatisticInfo& info : statistics()) {
    if (info.kind != StatisticKind::row || info.id == "jmax" || info.id == "group_mass") continue;
    try {
      const Buffer<float> values_hi = derive_statistic(info.id, geometry, heads_, stored);
      std::vector<Sum>& sums = row_sums_[std::string(info.id)];
      sums.resize(cells_);
      const std::int64_t fewest = info.mean_counts_first_row ? 1 : 2;
      for (std::int64_t i = rows.row_begin; i < end; ++i) {
        if (geometry.visible_keys(i) < fewest) continue;
        for (int h = 0; h < heads_; ++h) {
          const float value = values_hi[static_cast<std::size_t>(h * total + i)];
          if (std::isnan(value)) continue;
          Sum& sum = sums[static_cast<std::size_t>(rows.index * heads_ + h)];
          sum.total += static_cast<double>(value);
          ++sum.count;
        }
      }
    } catch (const NotRecorded&) {
      continue;
    }
  }
}

void HeadMeans::set_columns(const LayerColumns& columns) {
  const LayerGeometry geometry = layer_geometry(record_, columns.num_keys, columns.index);
  const auto stored = [&](std::string_view id) {
    const float* values = id == "received" ? columns.received : id == "received_tail" ? columns.received_tail : nullptr;
    return padded(values, columns.col_stride, heads_, 0, columns.num_keys, columns.num_keys);
  };
  for (const StatisticInfo& info : statistics()) {
    if (info.kind == StatisticKind::row || info.id == "distance") continue;
    try {
      const Buffer<float> value_h = derive_head_statistic(info.id, geometry, heads_, stored);
      std::vector<float>& out = columns_[std::string(info.id)];
      out.resize(cells_, kNan);
      std::copy(value_h.begin(), value_h.end(), out.begin() + columns.index * heads_);
    } catch (const NotRecorded&) {
      continue;
    }
  }
}

std::vector<float> HeadMeans::values(const std::string& id) const {
  std::vector<float> out(cells_, kNan);
  if (const auto found = columns_.find(id); found != columns_.end()) out = found->second;
  const auto sums = row_sums_.find(id == "distance" ? "dist1" : id);
  if (sums == row_sums_.end()) return out;
  for (std::size_t c = 0; c < cells_; ++c) {
    const Sum& sum = sums->second[c];
    if (sum.count > 0) out[c] = static_cast<float>(sum.total / static_cast<double>(sum.count));
  }
  return out;
}

}  // namespace headlight::capture::hdf5
