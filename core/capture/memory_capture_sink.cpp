#include <algorithm>

#include "base/error.h"
#include "core/capture/memory_record.h"

// What arrives. Reading it back: memory_capture.cpp.

namespace headlight::capture {
namespace {

struct NamedArray {
  std::string_view id;
  const float* LayerRows::*values;
};
constexpr NamedArray kHeadArrays[] = {
    {"lse", &LayerRows::lse},     {"entropy", &LayerRows::entropy},     {"pmax", &LayerRows::pmax},
    {"first", &LayerRows::first}, {"sink", &LayerRows::sink},           {"local", &LayerRows::local},
    {"dist1", &LayerRows::dist1}, {"dist2", &LayerRows::dist2},         {"off0", &LayerRows::off0},
    {"off1", &LayerRows::off1},   {"null_mass", &LayerRows::null_mass}, {"u_norm", &LayerRows::u_norm_hi},
};
constexpr NamedArray kKvArrays[] = {{"key_norm", &LayerRows::key_norm_gi}, {"value_norm", &LayerRows::value_norm_gi}};

struct NamedFact {
  std::string_view id;
  const float* HiddenRows::*values;
};
constexpr NamedFact kHiddenFacts[] = {{"norm_l2", &HiddenRows::norm_l2},
                                      {"absmax", &HiddenRows::absmax},
                                      {"mean", &HiddenRows::mean},
                                      {"rms", &HiddenRows::rms},
                                      {"cos_first", &HiddenRows::cos_first}};

SeriesArray& array_of(ArrayMap& arrays, std::string_view id, std::int64_t num_series) {
  auto found = arrays.find(id);
  if (found == arrays.end()) found = arrays.emplace(std::string(id), SeriesArray(num_series, 1)).first;
  return found->second;
}

void append(SeriesArray& array, const LayerRows& rows, const float* values, std::int64_t width = 1) {
  array.ensure_rows(rows.row_begin + rows.num_rows);
  for (std::int64_t s = 0; s < array.series(); ++s)
    std::copy_n(values + s * rows.row_stride * width, rows.num_rows * width, array.at(s, rows.row_begin));
}

// Element (i, series, d) of an operand lies at values[i * stride + series * head_dim + d]; row i goes to place i -
// first.
void append_operand(SeriesArray& array, std::int64_t series, const LayerRows& rows, const float* values,
                    std::int64_t stride, std::int64_t head_dim, std::int64_t first, std::int64_t end) {
  const std::int64_t from = std::max(rows.row_begin, first), to = std::min(rows.row_begin + rows.num_rows, end);
  if (from >= to) return;
  array.ensure_rows(to - first);
  for (std::int64_t i = from; i < to; ++i)
    std::copy_n(values + (i - rows.row_begin) * stride + series * head_dim, head_dim, array.at(series, i - first));
}

}  // namespace

void MemoryCapture::begin(const CaptureHeader& header) {
  HEADLIGHT_CHECK(header.plan.heads_lh.size() ==
                  header.plan.layers.size() * static_cast<std::size_t>(header.model.num_heads));
  header_ = header;
}

void MemoryCapture::begin_record(const RecordHeader& record) {
  HEADLIGHT_CHECK(record.layers.size() == header_.plan.layers.size());
  auto added = std::make_unique<Record>();
  added->header = record;
  for (std::size_t index = 0; index < record.layers.size(); ++index)
    added->layers.push_back(std::make_shared<LayerStore>());
  records_.push_back(std::move(added));
}

void MemoryCapture::write_rows(const LayerRows& rows) {
  HEADLIGHT_CHECK(!records_.empty());
  LayerStore& layer = records_.back()->layer(rows.index);
  const ModelInfo& model = header_.model;
  const std::string suffix = rows.base ? "_base" : "";
  for (const NamedArray& named : kHeadArrays)
    if (const float* values = rows.*named.values)
      append(array_of(layer.arrays, std::string(named.id) + suffix, model.num_heads), rows, values);
  for (const NamedArray& named : kKvArrays)
    if (const float* values = rows.*named.values)
      append(array_of(layer.arrays, named.id, model.num_kv_heads), rows, values);
  if (rows.jmax != nullptr) {
    SeriesArray& jmax = array_of(layer.arrays, "jmax" + suffix, model.num_heads);
    jmax.ensure_rows(rows.row_begin + rows.num_rows);
    for (std::int64_t h = 0; h < model.num_heads; ++h)
      std::copy_n(rows.jmax + h * rows.row_stride, rows.num_rows, jmax.at(h, rows.row_begin));
  }
  if (rows.base) return;
  const auto num_segments = static_cast<std::int64_t>(records_.back()->header.segments.size());
  if (rows.group_mass != nullptr && num_segments > 0) {
    if (layer.group_mass.series() == 0) layer.group_mass = SeriesArray(model.num_heads, num_segments);
    append(layer.group_mass, rows, rows.group_mass, num_segments);
  }
  if (header_.plan.level != CaptureLevel::summary) write_operands(rows);
  if (rows.row_begin <= layer.rows) layer.rows = std::max(layer.rows, rows.row_begin + rows.num_rows);
}

void MemoryCapture::write_row_plan(int index, const RowPlan& plan) {
  HEADLIGHT_CHECK(!records_.empty());
  records_.back()->layer(index).row_plan = plan;
}

void MemoryCapture::write_operands(const LayerRows& rows) {
  LayerStore& layer = records_.back()->layer(rows.index);
  const std::int64_t dim = header_.model.head_dim, arrived = rows.row_begin + rows.num_rows;
  const CapturePlan& plan = header_.plan;
  if (rows.q_ihd != nullptr) {
    if (layer.q.series() == 0) layer.q = SeriesArray(header_.model.num_heads, dim);
    for (int h = 0; h < header_.model.num_heads; ++h)
      if (plan.heads_lh[static_cast<std::size_t>(rows.index * header_.model.num_heads + h)] != 0)
        append_operand(layer.q, h, rows, rows.q_ihd, rows.q_stride, dim, plan.row_begin,
                       plan.row_end < 0 ? arrived : plan.row_end);
  }
  const auto append_kv = [&](SeriesArray& array, const float* values) {
    if (values == nullptr) return;
    if (array.series() == 0) array = SeriesArray(header_.model.num_kv_heads, dim);
    for (int g = 0; g < header_.model.num_kv_heads; ++g)
      append_operand(array, g, rows, values, rows.kv_stride, dim, 0, arrived);
  };
  append_kv(layer.k, rows.k_igd);
  if (plan.store_values) append_kv(layer.v, rows.v_igd);
}

void MemoryCapture::write_columns(const LayerColumns& columns) {
  HEADLIGHT_CHECK(!records_.empty());
  LayerStore& layer = records_.back()->layer(columns.index);
  const int num_heads = header_.model.num_heads;
  const auto replace = [&](std::string_view id, const float* values) {
    if (values == nullptr) return;
    SeriesArray& array = array_of(layer.arrays, std::string(id) + (columns.base ? "_base" : ""), num_heads);
    array.ensure_rows(columns.num_keys);
    for (int h = 0; h < num_heads; ++h) std::copy_n(values + h * columns.col_stride, columns.num_keys, array.at(h, 0));
  };
  replace("received", columns.received);
  replace("received_tail", columns.received_tail);
  if (columns.base || !header_.plan.overview || columns.block_sum == nullptr || columns.block_max == nullptr) return;
  const std::int64_t count = num_heads * columns.block_count * columns.block_count;
  layer.block_edge = columns.block_edge;
  layer.block_count = columns.block_count;
  layer.block_sum.assign(columns.block_sum, columns.block_sum + count);
  layer.block_max.assign(columns.block_max, columns.block_max + count);
}

void MemoryCapture::write_dense(const DenseRows& rows) {
  HEADLIGHT_CHECK(!records_.empty());
  Record& record = *records_.back();
  DenseMap& map = record.layer(rows.index).dense[rows.head];
  const std::int64_t needed = std::max({record.header.num_rows, rows.row_begin + rows.num_rows, rows.num_keys});
  HEADLIGHT_CHECK(map.width == 0 || needed == map.width);  // the announced size covers every row
  if (map.width == 0) map = {needed, std::vector<float>(static_cast<std::size_t>(needed * needed), 0.0f)};
  for (std::int64_t i = 0; i < rows.num_rows; ++i)
    std::copy_n(rows.attn_ij + i * rows.num_keys, rows.num_keys, map.attn_ij.data() + (rows.row_begin + i) * map.width);
}

void MemoryCapture::write_topk(std::span<const TopkRow> rows) {
  HEADLIGHT_CHECK(!records_.empty());
  records_.back()->topk.insert(records_.back()->topk.end(), rows.begin(), rows.end());
}

void MemoryCapture::write_hidden(const HiddenRows& rows) {
  HEADLIGHT_CHECK(!records_.empty() && rows.level >= 0 && rows.level <= header_.model.num_layers);
  for (const NamedFact& fact : kHiddenFacts) {
    const float* values = rows.*fact.values;
    if (values == nullptr) continue;
    SeriesArray& array = array_of(records_.back()->hidden, fact.id, header_.model.num_layers + 1);
    array.ensure_rows(rows.row_begin + rows.num_rows);
    std::copy_n(values, rows.num_rows, array.at(rows.level, rows.row_begin));
  }
  if (rows.x_id == nullptr) return;
  Record& record = *records_.back();
  const std::int64_t d = header_.model.hidden_size;
  if (!record.states) record.states.emplace(header_.model.num_layers + 1, d);
  record.states->ensure_rows(rows.row_begin + rows.num_rows);
  std::copy_n(rows.x_id, rows.num_rows * d, record.states->at(rows.level, rows.row_begin));
}

void MemoryCapture::write_massive(std::span<const MassiveActivation> entries) {
  HEADLIGHT_CHECK(!records_.empty());
  records_.back()->massive.insert(records_.back()->massive.end(), entries.begin(), entries.end());
}

void MemoryCapture::write_logits(const LogitRows& rows) {
  HEADLIGHT_CHECK(!records_.empty());
  const auto vocab = static_cast<std::size_t>(header_.model.vocab_size);
  if (rows.full.empty() || vocab == 0) return;
  Record& record = *records_.back();
  const std::size_t num_kept = rows.full.size() / vocab;
  const std::int64_t last = record.header.num_prompt_tokens - 1;
  if (last < rows.row_begin || last >= rows.row_begin + rows.num_rows) return;
  const std::size_t at = num_kept == 1 ? 0 : static_cast<std::size_t>(last - rows.row_begin);
  HEADLIGHT_CHECK(at < num_kept);
  const auto row = rows.full.subspan(at * vocab, vocab);
  record.last_logits.assign(row.begin(), row.end());
}

void MemoryCapture::share_layers(const MemoryCapture& other, std::int64_t r, int num_layers) {
  HEADLIGHT_CHECK(!records_.empty() && other.header_.plan == header_.plan);
  const Record& from = other.require_record(r);
  Record& to = *records_.back();
  HEADLIGHT_CHECK(from.header.num_rows == to.header.num_rows);
  for (std::size_t index = 0; index < to.layers.size() && header_.plan.layers[index] < num_layers; ++index)
    to.layers[index] = from.layers[index];
  const auto copy_levels = [&](const SeriesArray& array, SeriesArray& copy, std::int64_t width) {
    copy.ensure_rows(from.num_rows());
    for (int level = 0; level < num_layers; ++level)
      std::copy_n(array.at(level, 0), from.num_rows() * width, copy.at(level, 0));
  };
  for (const auto& [id, array] : from.hidden)
    copy_levels(array, array_of(to.hidden, id, header_.model.num_layers + 1), 1);
  if (from.states) {
    to.states.emplace(header_.model.num_layers + 1, header_.model.hidden_size);
    copy_levels(*from.states, *to.states, header_.model.hidden_size);
  }
  for (const MassiveActivation& entry : from.massive)
    if (entry.level < num_layers) to.massive.push_back(entry);
  for (const TopkRow& row : from.topk)
    if (row.layer < num_layers) to.topk.push_back(row);
}

void MemoryCapture::append_generated(const TokenInfo& token, float logprob) {
  HEADLIGHT_CHECK(!records_.empty());
  records_.back()->header.tokens.push_back(token);
  records_.back()->generated_logprob.push_back(logprob);
}

void MemoryCapture::end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>&) {
  HEADLIGHT_CHECK(!records_.empty());
  records_.back()->rows_done = rows_done;
}

void MemoryCapture::finish(bool complete) {
  complete_ = complete ? CompleteState::sealed : CompleteState::partial;
}

}  // namespace headlight::capture
