#include "core/capture/capture_plan.h"

#include <algorithm>
#include <bit>

#include "base/json.h"

namespace headlight::capture {
namespace {

std::string_view to_string(LogitsKept kept) {
  switch (kept) {
    case LogitsKept::none:
      return "none";
    case LogitsKept::last:
      return "last";
    case LogitsKept::all:
      return "all";
  }
  return "last";
}

// One string of 0 and 1 per recorded layer: short, and readable for a person.
Json heads_json(const CapturePlan& plan) {
  Json rows = Json::array();
  if (plan.layers.empty()) return rows;
  const std::size_t num_heads = plan.heads_lh.size() / plan.layers.size();
  for (std::size_t l = 0; l < plan.layers.size(); ++l) {
    std::string bits;
    for (std::size_t h = 0; h < num_heads; ++h) bits += plan.heads_lh[l * num_heads + h] != 0 ? '1' : '0';
    rows.push_back(bits);
  }
  return rows;
}

}  // namespace

std::string_view to_string(CaptureLevel level) {
  switch (level) {
    case CaptureLevel::summary:
      return "summary";
    case CaptureLevel::replay:
      return "replay";
    case CaptureLevel::maps:
      return "maps";
  }
  return "summary";
}

CapturePlan plan_of_all_heads(int num_layers, int num_heads, CaptureLevel level) {
  CapturePlan plan;
  plan.level = level;
  for (int layer = 0; layer < num_layers; ++layer) plan.layers.push_back(layer);
  plan.heads_lh.assign(static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_heads), 1);
  return plan;
}

std::int64_t overview_block_edge(std::int64_t num_rows) {
  const std::int64_t blocks = (std::max<std::int64_t>(num_rows, 1) + 255) / 256;
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(blocks)));
}

std::vector<std::int64_t> topk_row_positions(const CapturePlan& plan, std::int64_t num_rows) {
  std::vector<std::int64_t> rows;
  const std::int64_t wanted = std::clamp<std::int64_t>(plan.topk_rows, 0, std::max<std::int64_t>(num_rows, 0));
  if (plan.topk <= 0) return rows;
  const std::int64_t last = (wanted + 1) / 2, spread = wanted - last;
  const std::int64_t before = num_rows - last;  // rows that the evenly spaced half is taken from, before >= spread
  for (std::int64_t n = 0; n < spread; ++n) rows.push_back((2 * n + 1) * before / (2 * spread));
  for (std::int64_t i = before; i < num_rows; ++i) rows.push_back(i);
  return rows;
}

std::string to_json_text(const CapturePlan& plan) {
  Json json;
  json["level"] = to_string(plan.level);
  json["layers"] = plan.layers;
  json["heads"] = heads_json(plan);
  json["row_begin"] = plan.row_begin;
  json["row_end"] = plan.row_end;
  json["replay_dtype"] = headlight::to_string(plan.replay_dtype);
  json["store_values"] = plan.store_values;
  json["overview"] = plan.overview;
  json["logits"] = to_string(plan.logits);
  json["hidden_states"] = plan.hidden_states;
  json["sink_size"] = plan.sink_size;
  json["local_window"] = plan.local_window;
  json["tail_rows"] = plan.tail_rows;
  json["topk"] = plan.topk;
  json["topk_rows"] = plan.topk_rows;
  return dump_json(json);
}

}  // namespace headlight::capture
