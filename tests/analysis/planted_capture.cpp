#include "tests/analysis/planted_capture.h"

#include <algorithm>
#include <cmath>

namespace headlight::analysis {
namespace {

constexpr double kFloor = 1e-30;  // weight that stands for 0

// Every recorded statistic of one row.
struct LayerArrays {
  std::vector<float> lse, entropy, pmax, first, sink, local, dist1, dist2, off0, off1, null_mass, received, tail, q, k,
      norm;
  std::vector<std::int32_t> jmax;

  LayerArrays(int heads, std::int64_t rows) {
    for (auto* values :
         {&lse, &entropy, &pmax, &first, &sink, &local, &dist1, &dist2, &off0, &off1, &null_mass, &received, &tail})
      values->assign(heads * rows, 0.0f);
    jmax.assign(heads * rows, 0);
    q.assign(rows * heads * rows, 0.0f);
    k.assign(rows * heads * rows, 0.0f);
    norm.assign(heads * rows, 1.0f);
  }

  void add(const PlantedRecord& record, int layer, int h, std::int64_t i, std::int64_t tail_begin) {
    const std::int64_t n = record.rows, at = h * n + i;
    const double* attn_j =
        record.attn_lhij.data() + ((static_cast<std::int64_t>(layer) * record.heads + h) * n + i) * n;
    for (std::int64_t j = 0; j <= i; ++j) {
      const double a = attn_j[j], distance = static_cast<double>(i - j);
      q[(i * record.heads + h) * n + j] = static_cast<float>(std::log(std::max(a, kFloor)));
      if (a > 0.0) entropy[at] -= static_cast<float>(a * std::log(a));
      if (a > pmax[at]) {
        pmax[at] = static_cast<float>(a);
        jmax[at] = static_cast<std::int32_t>(j);
      }
      if (j < 4) sink[at] += static_cast<float>(a);
      if (i - j < 256) local[at] += static_cast<float>(a);
      dist1[at] += static_cast<float>(a * distance);
      dist2[at] += static_cast<float>(a * distance * distance);
      received[h * n + j] += static_cast<float>(a);
      if (i >= tail_begin) tail[h * n + j] += static_cast<float>(a);
    }
    first[at] = static_cast<float>(attn_j[0]);
    off0[at] = static_cast<float>(attn_j[i]);
    off1[at] = i > 0 ? static_cast<float>(attn_j[i - 1]) : 0.0f;
    k[(i * record.heads + h) * n + i] = 1.0f;
  }
};

void write_layer(const PlantedRecord& record, int layer, std::int64_t tail_rows, capture::MemoryCapture& capture) {
  const std::int64_t n = record.rows;
  LayerArrays arrays(record.heads, n);
  for (int h = 0; h < record.heads; ++h)
    for (std::int64_t i = 0; i < n; ++i) arrays.add(record, layer, h, i, n - tail_rows);
  capture::LayerRows rows;
  rows.index = layer;
  rows.num_rows = rows.row_stride = n;
  rows.lse = arrays.lse.data();
  rows.entropy = arrays.entropy.data();
  rows.pmax = arrays.pmax.data();
  rows.first = arrays.first.data();
  rows.sink = arrays.sink.data();
  rows.local = arrays.local.data();
  rows.dist1 = arrays.dist1.data();
  rows.dist2 = arrays.dist2.data();
  rows.off0 = arrays.off0.data();
  rows.off1 = arrays.off1.data();
  rows.null_mass = arrays.null_mass.data();
  rows.jmax = arrays.jmax.data();
  rows.q_ihd = arrays.q.data();
  rows.q_stride = rows.kv_stride = record.heads * n;
  rows.k_igd = rows.v_igd = arrays.k.data();
  rows.key_norm_gi = rows.value_norm_gi = arrays.norm.data();
  rows.u_norm_hi = record.u_norm_lhj.data() + static_cast<std::int64_t>(layer) * record.heads * n;
  capture.write_rows(rows);
  capture::LayerColumns columns;
  columns.index = layer;
  columns.num_keys = columns.col_stride = n;
  columns.received = arrays.received.data();
  columns.received_tail = arrays.tail.data();
  capture.write_columns(columns);
}

// States of length 1 at every level.
void write_states(const PlantedRecord& record, capture::MemoryCapture& capture) {
  const std::vector<float> one(static_cast<std::size_t>(record.rows), 1.0f);
  const std::vector<std::int32_t> zero(one.size(), 0);
  for (int level = 0; level <= record.layers; ++level) {
    capture::HiddenRows rows;
    rows.level = level;
    rows.num_rows = record.rows;
    rows.norm_l2 = rows.absmax = rows.mean = rows.rms = rows.cos_first = one.data();
    rows.absmax_dim = zero.data();
    capture.write_hidden(rows);
  }
}

}  // namespace

PlantedRecord::PlantedRecord(int layers_, int heads_, std::int64_t rows_)
    : layers(layers_),
      heads(heads_),
      rows(rows_),
      attn_lhij(static_cast<std::size_t>(layers_ * heads_ * rows_ * rows_), 0.0),
      u_norm_lhj(static_cast<std::size_t>(layers_ * heads_ * rows_), 1.0f) {
  for (std::int64_t row = 0; row < layers * heads * rows; ++row) attn_lhij[row * rows] = 1.0;
  say(std::vector<std::string>(rows, "w"));
}

void PlantedRecord::set(int layer, int head, std::int64_t row, std::int64_t key, double weight) {
  double* attn_j = attn_lhij.data() + ((static_cast<std::int64_t>(layer) * heads + head) * rows + row) * rows;
  attn_j[0] -= weight;
  attn_j[key] += weight;
  if (attn_j[0] < 1e-12) attn_j[0] = 0.0;
}

void PlantedRecord::look_back(int layer, int head, std::int64_t back, double weight) {
  for (std::int64_t i = 1; i < rows; ++i) set(layer, head, i, std::max<std::int64_t>(i - back, 0), weight);
}

void PlantedRecord::spread(int layer, int head) {
  for (std::int64_t i = 1; i < rows; ++i)
    for (std::int64_t j = 1; j <= i; ++j) set(layer, head, i, j, 1.0 / static_cast<double>(i + 1));
}

void PlantedRecord::say(const std::vector<std::string>& words) {
  header.text.clear();
  header.tokens.clear();
  for (const std::string& word : words) {
    capture::TokenInfo token;
    token.byte_begin = token.char_begin = static_cast<std::int64_t>(header.text.size());
    header.text += word;
    token.byte_end = token.char_end = static_cast<std::int64_t>(header.text.size());
    token.piece = word;
    header.tokens.push_back(token);
  }
}

void write_capture(const std::vector<PlantedRecord>& records, capture::MemoryCapture& capture) {
  const PlantedRecord& shape = records.front();
  capture::CaptureHeader header;
  header.model.name = "planted";
  header.model.num_layers = shape.layers;
  header.model.num_heads = header.model.num_kv_heads = shape.heads;
  header.model.head_dim = static_cast<int>(shape.rows);
  for (int l = 0; l < shape.layers; ++l) header.plan.layers.push_back(l);
  header.plan.heads_lh.assign(static_cast<std::size_t>(shape.layers * shape.heads), 1);
  header.plan.overview = false;
  header.plan.tail_rows = 2;
  header.num_records = std::ssize(records);
  capture.begin(header);
  for (const PlantedRecord& record : records) {
    capture::RecordHeader own = record.header;
    own.num_prompt_tokens = own.num_rows = record.rows;
    for (int l = 0; l < record.layers; ++l) own.layers.push_back({l, 1.0f, 0.0f, 0, true, {}});
    capture.begin_record(own);
    for (int l = 0; l < record.layers; ++l) write_layer(record, l, header.plan.tail_rows, capture);
    write_states(record, capture);
    capture.end_record(record.rows, {});
  }
  capture.finish(true);
}

PlantedRecord two_layer_e4() {
  PlantedRecord record(2, 1, 4);
  constexpr double kAttn[4][4] = {{1.0}, {0.6, 0.4}, {0.5, 0.2, 0.3}, {0.7, 0.1, 0.1, 0.1}};
  for (int l = 0; l < 2; ++l)
    for (std::int64_t i = 1; i < 4; ++i)
      for (std::int64_t j = 1; j <= i; ++j) record.set(l, 0, i, j, kAttn[i][j]);
  return record;
}

}  // namespace headlight::analysis
