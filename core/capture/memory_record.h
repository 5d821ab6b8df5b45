#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/capture/memory_capture.h"
#include "core/capture/series_array.h"

namespace headlight::capture {

using ArrayMap = std::map<std::string, SeriesArray, std::less<>>;

struct DenseMap {
  std::int64_t width = 0;
  std::vector<float> attn_ij;  // [width][width]
};

struct LayerStore {
  std::int64_t rows = 0;   // rows [0, rows) have arrived
  ArrayMap arrays;         // row and column statistics [H][N], key_norm and value_norm [G][N], u_norm [H][N]
  SeriesArray group_mass;  // [H][N][segments]
  SeriesArray q, k, v;     // [H][rows kept][D] (only chosen heads are filled), [G][N][D]
  std::int64_t block_edge = 0, block_count = 0;
  std::vector<float> block_sum, block_max;  // [H][B][B]
  std::map<int, DenseMap> dense;            // by head
  RowPlan row_plan;
};

struct MemoryCapture::Record {
  RecordHeader header;
  std::vector<std::shared_ptr<LayerStore>> layers;  // shared with other captures once they are complete
  std::vector<float> generated_logprob;
  ArrayMap hidden;                    // facts [L + 1][N]
  std::optional<SeriesArray> states;  // [L + 1][N][d]
  std::vector<MassiveActivation> massive;
  std::vector<TopkRow> topk;
  std::vector<float> last_logits;
  std::int64_t rows_done = -1;  // set by end_record

  std::int64_t num_rows() const {
    if (rows_done >= 0) return rows_done;
    if (layers.empty()) return 0;
    std::int64_t rows = layers.front()->rows;
    for (const auto& layer : layers) rows = std::min(rows, layer->rows);
    return rows;
  }
  std::int64_t replay_end(const CapturePlan& plan) const {
    return plan.row_end < 0 ? num_rows() : std::min(plan.row_end, num_rows());
  }
  LayerStore& layer(int index) { return *layers.at(static_cast<std::size_t>(index)); }
  const LayerStore& layer(int index) const { return *layers.at(static_cast<std::size_t>(index)); }
};

}  // namespace headlight::capture
