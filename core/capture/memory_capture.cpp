#include "core/capture/memory_capture.h"

#include <algorithm>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/derive.h"
#include "core/capture/memory_record.h"
#include "core/capture/statistics.h"

namespace headlight::capture {
namespace {

[[noreturn]] void throw_invalid(const std::string& text) {
  throw Error(Errc::invalid_argument, text);
}

void check_range(std::string_view what, std::int64_t value, std::int64_t count) {
  if (value < 0 || value >= count) throw_invalid(fmt::format("{} {} is outside 0..{}", what, value, count - 1));
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

MemoryCapture::MemoryCapture() : uuid_(random_uuid()) {}
MemoryCapture::~MemoryCapture() = default;

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
  const LayerStore& layer = *record.layers.front();
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
  const LayerStore& store = record.layer(layer);
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
  const LayerStore& layer = *record.layers.front();
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
  const SeriesArray& q = record.layer(layer).q;
  HEADLIGHT_CHECK(end - first <= q.capacity());
  read_operand(q, head, begin - first, end - first, header_.model.head_dim, out);
}

void MemoryCapture::read_kv(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, bool values,
                            float* out) const {
  const Record& record = require_record(r);
  check_layer(layer);
  check_range("KV head", kv_head, header_.model.num_kv_heads);
  const LayerStore& store = record.layer(layer);
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
  return require_record(r).layer(layer).row_plan;
}

bool MemoryCapture::head_recorded(std::int64_t r, int layer, int head) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  return record.layer(layer).q.series() > 0 &&
         header_.plan.heads_lh[static_cast<std::size_t>(layer * header_.model.num_heads + head)] != 0;
}

Buffer<float> MemoryCapture::blocks(std::int64_t r, int layer, int head, bool sums) const {
  const Record& record = require_record(r);
  check_head(layer, head);
  const LayerStore& store = record.layer(layer);
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
  const auto& maps = record.layer(layer).dense;
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
  if (!known || record.layers.empty() || !record.layers.front()->arrays.contains(id))
    throw_invalid(fmt::format("'{}' is not recorded among the hidden-state facts", id));
  const std::int64_t series = per_kv ? header_.model.num_kv_heads : header_.model.num_heads;
  Buffer<float> out(
      static_cast<std::size_t>(static_cast<std::int64_t>(record.layers.size()) * series * record.num_rows()));
  float* at = out.data();
  for (const auto& layer : record.layers) {
    const auto found = layer->arrays.find(id);
    if (found == layer->arrays.end()) throw_invalid(fmt::format("'{}' is not recorded in every layer yet", id));
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
