#include "core/capture/memory_capture.h"

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/derive.h"
#include "core/capture/series_array.h"
#include "core/capture/statistics.h"

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

[[noreturn]] void throw_invalid(const std::string& text) {
  throw Error(Errc::invalid_argument, text);
}

void check_range(std::string_view what, std::int64_t value, std::int64_t count) {
  if (value < 0 || value >= count) throw_invalid(fmt::format("{} {} is outside 0..{}", what, value, count - 1));
}

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

void read_operand(const SeriesArray& array, std::int64_t series, std::int64_t begin, std::int64_t end,
                  std::int64_t head_dim, float* out) {
  if (begin < end) std::copy_n(array.at(series, begin), (end - begin) * head_dim, out);
}

std::string random_uuid() {
  std::random_device device;
  std::uint32_t word[4] = {device(), device(), device(), device()};
  word[1] = (word[1] & 0xffff0fffu) | 0x00004000u;  // version 4
  word[2] = (word[2] & 0x3fffffffu) | 0x80000000u;  // variant of RFC 4122
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", word[0], word[1] >> 16, word[1] & 0xffffu,
                     word[2] >> 16, word[2] & 0xffffu, word[3]);
}

}  // namespace

struct MemoryCapture::Record {
  RecordHeader header;
  std::vector<LayerStore> layers;
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
    return std::min_element(layers.begin(), layers.end(), [](const auto& a, const auto& b) { return a.rows < b.rows; })
        ->rows;
  }
  std::int64_t replay_end(const CapturePlan& plan) const {
    return plan.row_end < 0 ? num_rows() : std::min(plan.row_end, num_rows());
  }
};

MemoryCapture::MemoryCapture() : uuid_(random_uuid()) {}
MemoryCapture::~MemoryCapture() = default;

void MemoryCapture::begin(const CaptureHeader& header) {
  HEADLIGHT_CHECK(header.plan.heads_lh.size() ==
                  header.plan.layers.size() * static_cast<std::size_t>(header.model.num_heads));
  header_ = header;
}

void MemoryCapture::begin_record(const RecordHeader& record) {
  HEADLIGHT_CHECK(record.layers.size() == header_.plan.layers.size());
  auto added = std::make_unique<Record>();
  added->header = record;
  added->layers.resize(record.layers.size());
  records_.push_back(std::move(added));
}

void MemoryCapture::write_rows(const LayerRows& rows) {
  HEADLIGHT_CHECK(!records_.empty());
  LayerStore& layer = records_.back()->layers.at(static_cast<std::size_t>(rows.index));
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
  records_.back()->layers.at(static_cast<std::size_t>(index)).row_plan = plan;
}

void MemoryCapture::write_operands(const LayerRows& rows) {
  LayerStore& layer = records_.back()->layers[static_cast<std::size_t>(rows.index)];
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
  LayerStore& layer = records_.back()->layers.at(static_cast<std::size_t>(columns.index));
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
  DenseMap& map = record.layers.at(static_cast<std::size_t>(rows.index)).dense[rows.head];
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

const CaptureHeader& MemoryCapture::header() const {
  return header_;
}
CompleteState MemoryCapture::complete() const {
  return complete_;
}
std::string MemoryCapture::uuid() const {
  return uuid_;
}
std::int64_t MemoryCapture::num_records() const {
  return static_cast<std::int64_t>(records_.size());
}

const MemoryCapture::Record& MemoryCapture::require_record(std::int64_t r) const {
  check_range("record", r, num_records());
  return *records_[static_cast<std::size_t>(r)];
}

RecordInfo MemoryCapture::record(std::int64_t r) const {
  const Record& record = require_record(r);
  RecordInfo info;
  info.header = record.header;
  info.num_rows = record.num_rows();
  info.num_generated = static_cast<std::int64_t>(record.generated_logprob.size());
  info.generated_logprob = record.generated_logprob;
  info.replay_dtype = header_.plan.replay_dtype;
  info.has_topk = !record.topk.empty();
  info.has_hidden_states = record.states.has_value();
  info.replay_row_begin = std::min(header_.plan.row_begin, info.num_rows);
  info.replay_row_end = std::max(info.replay_row_begin, record.replay_end(header_.plan));
  if (record.layers.empty()) return info;
  const LayerStore& layer = record.layers.front();
  info.has_replay = layer.q.series() > 0 && layer.k.series() > 0;
  info.has_values = layer.v.series() > 0;
  info.has_columns = layer.arrays.contains("received");
  info.has_overview = !layer.block_max.empty();
  info.has_dense = !layer.dense.empty();
  info.block_edge = layer.block_edge;
  info.block_count = layer.block_count;
  return info;
}

Buffer<float> MemoryCapture::stored_statistic(const Record& record, std::string_view id, int layer) const {
  const LayerStore& store = record.layers[static_cast<std::size_t>(layer)];
  if (const auto segment = group_mass_segment(id)) {
    check_range("segment", *segment, static_cast<std::int64_t>(record.header.segments.size()));
    if (store.group_mass.series() > 0) return store.group_mass.column(*segment, record.num_rows());
  }
  const auto found = store.arrays.find(id);
  if (found == store.arrays.end()) {
    const std::string hint = id == "group_mass" ? " as a whole: ask for group_mass:<segment>" : "";
    throw_invalid(fmt::format("statistic '{}' is not recorded in layer {}{}", id,
                              header_.plan.layers[static_cast<std::size_t>(layer)], hint));
  }
  return found->second.column(0, record.num_rows());
}

Buffer<float> MemoryCapture::statistic(std::int64_t r, std::string_view id, int layer) const {
  const Record& record = require_record(r);
  check_layer(layer);
  return derive_statistic(id, layer_geometry(record.header, record.num_rows(), layer), header_.model.num_heads,
                          [&](std::string_view wanted) { return stored_statistic(record, wanted, layer); });
}

Buffer<float> MemoryCapture::head_statistic(std::int64_t r, std::string_view id) const {
  const Record& record = require_record(r);
  const int num_heads = header_.model.num_heads;
  Buffer<float> value_lh(record.layers.size() * static_cast<std::size_t>(num_heads));
  for (int l = 0; l < static_cast<int>(record.layers.size()); ++l) {
    const Buffer<float> value_h =
        derive_head_statistic(id, layer_geometry(record.header, record.num_rows(), l), num_heads,
                              [&](std::string_view wanted) { return stored_statistic(record, wanted, l); });
    std::copy(value_h.begin(), value_h.end(), value_lh.data() + l * num_heads);
  }
  return value_lh;
}

std::vector<std::string> MemoryCapture::available_statistics(std::int64_t r) const {
  const Record& record = require_record(r);
  std::vector<std::string> recorded;
  if (record.layers.empty()) return recorded;
  const LayerStore& layer = record.layers.front();
  for (const auto& [id, array] : layer.arrays)
    if (find_statistic(id) != nullptr) recorded.push_back(id);
  if (layer.group_mass.series() > 0)
    for (std::size_t s = 0; s < record.header.segments.size(); ++s) recorded.push_back(fmt::format("group_mass:{}", s));
  return with_derived_statistics(recorded);
}

void MemoryCapture::check_layer(int layer) const {
  check_range("recorded layer index", layer, static_cast<std::int64_t>(header_.plan.layers.size()));
}

void MemoryCapture::read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end,
                           float* out) const {
  const Record& record = require_record(r);
  if (!head_recorded(r, layer, head))
    throw_invalid(fmt::format("queries of layer {} head {} are not recorded",
                              header_.plan.layers[static_cast<std::size_t>(layer)], head));
  const std::int64_t first = header_.plan.row_begin, last = record.replay_end(header_.plan);
  if (begin < first || end > last || begin > end)
    throw_invalid(fmt::format("query rows {}:{} are not recorded, only {}:{}", begin, end, first, last));
  const SeriesArray& q = record.layers[static_cast<std::size_t>(layer)].q;
  HEADLIGHT_CHECK(end - first <= q.capacity());
  read_operand(q, head, begin - first, end - first, header_.model.head_dim, out);
}

void MemoryCapture::read_kv(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, bool values,
                            float* out) const {
  const Record& record = require_record(r);
  check_layer(layer);
  check_range("KV head", kv_head, header_.model.num_kv_heads);
  const LayerStore& store = record.layers[static_cast<std::size_t>(layer)];
  const SeriesArray& array = values ? store.v : store.k;
  if (array.series() == 0) throw_invalid(values ? "values are not recorded" : "keys are not recorded");
  if (begin < 0 || begin > end || end > std::min(record.num_rows(), array.capacity()))
    throw_invalid(fmt::format("keys {}:{} are outside 0:{}", begin, end, record.num_rows()));
  read_operand(array, kv_head, begin, end, header_.model.head_dim, out);
}

void MemoryCapture::read_k(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                           float* out) const {
  read_kv(r, layer, kv_head, begin, end, false, out);
}

void MemoryCapture::read_v(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                           float* out) const {
  read_kv(r, layer, kv_head, begin, end, true, out);
}

RowPlan MemoryCapture::row_plan(std::int64_t r, int layer) const {
  check_layer(layer);
  return require_record(r).layers[static_cast<std::size_t>(layer)].row_plan;
}

bool MemoryCapture::head_recorded(std::int64_t r, int layer, int head) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  return record.layers[static_cast<std::size_t>(layer)].q.series() > 0 &&
         header_.plan.heads_lh[static_cast<std::size_t>(layer * header_.model.num_heads + head)] != 0;
}

Buffer<float> MemoryCapture::blocks(std::int64_t r, int layer, int head, bool sums) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  const LayerStore& store = record.layers[static_cast<std::size_t>(layer)];
  if (store.block_sum.empty()) throw_invalid("no overview is recorded");
  const std::int64_t count = store.block_count * store.block_count;
  Buffer<float> out(static_cast<std::size_t>(count));
  std::copy_n((sums ? store.block_sum : store.block_max).data() + head * count, count, out.data());
  return out;
}

Buffer<float> MemoryCapture::block_sum(std::int64_t r, int layer, int head) const {
  return blocks(r, layer, head, true);
}

Buffer<float> MemoryCapture::block_max(std::int64_t r, int layer, int head) const {
  return blocks(r, layer, head, false);
}

Buffer<float> MemoryCapture::dense(std::int64_t r, int layer, int head) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  const auto& maps = record.layers[static_cast<std::size_t>(layer)].dense;
  const auto found = maps.find(head);
  if (found == maps.end())
    throw_invalid(fmt::format("no dense map of layer {} head {} is recorded",
                              header_.plan.layers[static_cast<std::size_t>(layer)], head));
  const std::int64_t rows = record.num_rows();
  const DenseMap& map = found->second;
  Buffer<float> out(static_cast<std::size_t>(rows * rows), 0.0f);
  for (std::int64_t i = 0; i < std::min(rows, map.width); ++i)
    std::copy_n(map.attn_ij.data() + i * map.width, std::min(rows, map.width), out.data() + i * rows);
  return out;
}

std::vector<TopkRow> MemoryCapture::topk(std::int64_t r, int layer, int head) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  if (record.topk.empty()) throw_invalid("no top-k entries are recorded");
  const int model_layer = header_.plan.layers[static_cast<std::size_t>(layer)];
  std::vector<TopkRow> rows;
  std::copy_if(record.topk.begin(), record.topk.end(), std::back_inserter(rows),
               [&](const TopkRow& row) { return row.layer == model_layer && row.head == head; });
  return rows;
}

Buffer<float> MemoryCapture::hidden(std::int64_t r, std::string_view id) const {
  const Record& record = require_record(r);
  if (const auto found = record.hidden.find(id); found != record.hidden.end())
    return found->second.column(0, record.num_rows());
  if (id == "x" && record.states) return record.states->all(record.num_rows());
  const bool per_kv = id == "key_norm" || id == "value_norm";
  const bool known = per_kv || id == "u_norm";
  if (!known || record.layers.empty() || !record.layers.front().arrays.contains(id))
    throw_invalid(fmt::format("'{}' is not recorded among the hidden-state facts", id));
  const std::int64_t series = per_kv ? header_.model.num_kv_heads : header_.model.num_heads;
  Buffer<float> out(
      static_cast<std::size_t>(static_cast<std::int64_t>(record.layers.size()) * series * record.num_rows()));
  float* at = out.data();
  for (const LayerStore& layer : record.layers) {
    const auto found = layer.arrays.find(id);
    if (found == layer.arrays.end()) throw_invalid(fmt::format("'{}' is not recorded in every layer yet", id));
    const Buffer<float> values = found->second.column(0, record.num_rows());
    at = std::copy(values.begin(), values.end(), at);
  }
  return out;
}

void MemoryCapture::read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const {
  const Record& record = require_record(r);
  if (!record.states) throw_invalid("no hidden states are recorded");
  check_range("level", level, header_.model.num_layers + 1);
  if (begin < 0 || begin > end || end > record.num_rows())
    throw_invalid(fmt::format("rows {}:{} are outside 0:{}", begin, end, record.num_rows()));
  if (begin < end) std::copy_n(record.states->at(level, begin), (end - begin) * header_.model.hidden_size, out);
}

std::vector<MassiveActivation> MemoryCapture::massive(std::int64_t r) const {
  return require_record(r).massive;
}

Buffer<float> MemoryCapture::last_logits(std::int64_t r) const {
  const Record& record = require_record(r);
  if (record.last_logits.empty()) throw_invalid("no logits are recorded");
  Buffer<float> out(record.last_logits.size());
  std::copy(record.last_logits.begin(), record.last_logits.end(), out.begin());
  return out;
}

void MemoryCapture::check_head(int layer, int head) const {
  check_layer(layer);
  check_range("head", head, header_.model.num_heads);
}

}  // namespace headlight::capture
