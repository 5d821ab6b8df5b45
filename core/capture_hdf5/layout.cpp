#include "core/capture_hdf5/layout.h"

#include <algorithm>

namespace headlight::capture::hdf5 {

std::int64_t chunk_rows(std::int64_t rows, std::int64_t limit) {
  const std::int64_t wanted = std::max<std::int64_t>(rows, 1), chunks = (wanted + limit - 1) / limit;
  return (wanted + chunks - 1) / chunks;
}

std::vector<std::string> head_statistic_ids() {
  std::vector<std::string> ids;
  for (const StatisticInfo& info : statistics())
    if (info.id != "jmax" && info.id != "group_mass") ids.emplace_back(info.id);
  return ids;
}

std::string statistic_path(const StatisticInfo& info, bool base) {
  return (info.kind == StatisticKind::row ? "row/" : "col/") + std::string(info.id) + (base ? "_base" : "");
}

const float* row_values(const LayerRows& rows, std::string_view id) {
  struct Field {
    std::string_view id;
    const float* LayerRows::*values;
  };
  constexpr Field kFields[] = {
      {"lse", &LayerRows::lse},     {"entropy", &LayerRows::entropy},     {"pmax", &LayerRows::pmax},
      {"first", &LayerRows::first}, {"sink", &LayerRows::sink},           {"local", &LayerRows::local},
      {"dist1", &LayerRows::dist1}, {"dist2", &LayerRows::dist2},         {"off0", &LayerRows::off0},
      {"off1", &LayerRows::off1},   {"null_mass", &LayerRows::null_mass},
  };
  for (const Field& field : kFields)
    if (field.id == id) return rows.*field.values;
  return nullptr;
}

RecordShape::RecordShape(const CaptureHeader& header, const RecordHeader& record)
    : group("/rec/0"),
      layers(static_cast<std::int64_t>(header.plan.layers.size())),
      heads(header.model.num_heads),
      kv_heads(header.model.num_kv_heads),
      head_dim(header.model.head_dim),
      levels(header.model.num_layers + 1),
      hidden(header.model.hidden_size),
      vocab(header.model.vocab_size),
      rows(record.num_rows),
      prompt_rows(std::min(record.num_prompt_tokens, record.num_rows)),
      segments(static_cast<std::int64_t>(record.segments.size())),
      rows_changed(record.rows_changed),
      has_base(record.has_base),
      generates(record.num_rows > record.num_prompt_tokens),
      query_begin(std::clamp<std::int64_t>(header.plan.row_begin, 0, rows)),
      query_end(header.plan.row_end < 0 ? rows : std::clamp<std::int64_t>(header.plan.row_end, query_begin, rows)),
      blocks(0) {
  const std::int64_t edge = overview_block_edge(rows);
  blocks = (rows + edge - 1) / edge;
}

}  // namespace headlight::capture::hdf5
