#include "tests/capture/dense_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>

namespace headlight::capture {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<float> narrow(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

DenseReference::DenseReference(TestShape shape_) : shape(std::move(shape_)) {
  const auto rows = static_cast<std::size_t>(shape.num_rows), dim = static_cast<std::size_t>(shape.head_dim);
  q_hid.assign(static_cast<std::size_t>(shape.num_heads) * rows * dim, 0.0f);
  k_gjd.assign(static_cast<std::size_t>(shape.num_kv_heads) * rows * dim, 0.0f);
}

void DenseReference::fill_random(unsigned seed, float magnitude) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, magnitude);
  for (float& value : q_hid) value = normal(random);
  for (float& value : k_gjd) value = normal(random);
}

bool DenseReference::visible(std::int64_t i, std::int64_t j) const {
  if (i < shape.first_key || j < shape.first_key) return false;
  if (shape.causal && j > i) return false;
  return shape.window == 0 || std::abs(i - j) < shape.window;
}

double DenseReference::attn(int h, std::int64_t i, std::int64_t j) const {
  return attn_hij[static_cast<std::size_t>((h * shape.num_rows + i) * shape.num_rows + j)];
}

void DenseReference::compute() {
  const auto cells = static_cast<std::size_t>(shape.num_heads * shape.num_rows);
  for (auto* values : {&entropy, &pmax, &first, &sink, &local, &dist1, &dist2, &off0, &off1, &null_mass, &received,
                       &received_tail, &score_absmax_hi})
    values->assign(cells, 0.0);
  lse.assign(cells, -kInf);
  jmax.assign(cells, -1);
  attn_hij.assign(cells * static_cast<std::size_t>(shape.num_rows), 0.0);
  for (int h = 0; h < shape.num_heads; ++h)
    for (std::int64_t i = 0; i < shape.num_rows; ++i) compute_row(h, i);
}

void DenseReference::compute_row(int h, std::int64_t i) {
  const std::int64_t rows = shape.num_rows, dim = shape.head_dim, g = h * shape.num_kv_heads / shape.num_heads;
  const auto at = static_cast<std::size_t>(h * rows + i);
  std::vector<double> score(static_cast<std::size_t>(rows), -kInf);
  double largest = -kInf;
  for (std::int64_t j = 0; j < rows; ++j) {
    if (!visible(i, j)) continue;
    double s = 0.0;
    for (std::int64_t d = 0; d < dim; ++d)
      s += static_cast<double>(q_hid[static_cast<std::size_t>((h * rows + i) * dim + d)]) *
           static_cast<double>(k_gjd[static_cast<std::size_t>((g * rows + j) * dim + d)]);
    s *= shape.scale;
    if (shape.soft_cap > 0.0f) s = shape.soft_cap * std::tanh(s / shape.soft_cap);
    score[static_cast<std::size_t>(j)] = s;
    score_absmax_hi[at] = std::max(score_absmax_hi[at], std::abs(s));
    if (s > largest) {
      largest = s;
      jmax[at] = j;
    }
  }
  if (largest == -kInf) return;
  const double null =
      shape.null_logit_h.empty() ? -kInf : static_cast<double>(shape.null_logit_h[static_cast<std::size_t>(h)]);
  double denominator = std::exp(null);
  for (const double s : score) denominator += std::exp(s);
  lse[at] = std::log(denominator);
  null_mass[at] = std::exp(null) / denominator;
  if (null_mass[at] > 0.0) entropy[at] -= null_mass[at] * std::log(null_mass[at]);
  const std::int64_t prompt = shape.num_prompt_tokens < 0 ? rows : shape.num_prompt_tokens;
  for (std::int64_t j = 0; j < rows; ++j) {
    const double a = std::exp(score[static_cast<std::size_t>(j)]) / denominator;
    const double d = std::abs(static_cast<double>(i - j));
    attn_hij[at * static_cast<std::size_t>(rows) + static_cast<std::size_t>(j)] = a;
    if (a > 0.0) entropy[at] -= a * std::log(a);
    pmax[at] = std::max(pmax[at], a);
    if (j == shape.first_key) first[at] += a;
    if (j >= shape.first_key && j < shape.first_key + shape.sink_size) sink[at] += a;
    if (i - shape.local_window < j && j <= i) local[at] += a;
    if (j == i) off0[at] += a;
    if (j == i - 1) off1[at] += a;
    dist1[at] += a * d;
    dist2[at] += a * d * d;
    received[static_cast<std::size_t>(h * rows + j)] += a;
    if (i >= prompt - shape.tail_rows && i < prompt) received_tail[static_cast<std::size_t>(h * rows + j)] += a;
  }
}

const std::vector<double>& DenseReference::values(std::string_view id) const {
  const std::pair<std::string_view, const std::vector<double>*> all[] = {{"lse", &lse},
                                                                         {"entropy", &entropy},
                                                                         {"pmax", &pmax},
                                                                         {"first", &first},
                                                                         {"sink", &sink},
                                                                         {"local", &local},
                                                                         {"dist1", &dist1},
                                                                         {"dist2", &dist2},
                                                                         {"off0", &off0},
                                                                         {"off1", &off1},
                                                                         {"null_mass", &null_mass},
                                                                         {"received", &received},
                                                                         {"received_tail", &received_tail}};
  for (const auto& [name, found] : all)
    if (name == id) return *found;
  throw std::invalid_argument(std::string(id));
}

void write_capture(const DenseReference& reference, CapturePlan plan, MemoryCapture& capture) {
  const TestShape& shape = reference.shape;
  const std::int64_t rows = shape.num_rows, dim = shape.head_dim;
  CaptureHeader header;
  header.model.name = "test";
  header.model.num_layers = 6;
  header.model.num_heads = shape.num_heads;
  header.model.num_kv_heads = shape.num_kv_heads;
  header.model.head_dim = shape.head_dim;
  plan.layers = {5};
  if (plan.heads_lh.empty()) plan.heads_lh.assign(static_cast<std::size_t>(shape.num_heads), 1);
  plan.sink_size = shape.sink_size;
  plan.local_window = shape.local_window;
  plan.tail_rows = shape.tail_rows;
  header.plan = plan;
  capture.begin(header);

  RecordHeader record;
  record.tokens.resize(static_cast<std::size_t>(rows));
  record.num_prompt_tokens = shape.num_prompt_tokens < 0 ? rows : shape.num_prompt_tokens;
  record.num_rows = rows;
  record.first_key = shape.first_key;
  record.layers.push_back({5, shape.scale, shape.soft_cap, shape.window, shape.causal, shape.null_logit_h});
  capture.begin_record(record);

  // Rows of all heads together, as the kernel has them.
  std::vector<float> q_ihd(reference.q_hid.size()), k_igd(reference.k_gjd.size());
  const auto transpose = [&](const std::vector<float>& from, std::int64_t series, std::vector<float>& to) {
    for (std::int64_t s = 0; s < series; ++s)
      for (std::int64_t i = 0; i < rows; ++i)
        std::copy_n(from.data() + (s * rows + i) * dim, dim, to.data() + (i * series + s) * dim);
  };
  transpose(reference.q_hid, shape.num_heads, q_ihd);
  transpose(reference.k_gjd, shape.num_kv_heads, k_igd);
  std::vector<std::vector<float>> kept;
  const auto keep = [&](const std::vector<double>& values) { return kept.emplace_back(narrow(values)).data(); };
  const std::vector<std::int32_t> jmax(reference.jmax.begin(), reference.jmax.end());

  LayerRows layer;
  layer.num_rows = layer.row_stride = rows;
  layer.lse = keep(reference.lse);
  layer.entropy = keep(reference.entropy);
  layer.pmax = keep(reference.pmax);
  layer.first = keep(reference.first);
  layer.sink = keep(reference.sink);
  layer.local = keep(reference.local);
  layer.dist1 = keep(reference.dist1);
  layer.dist2 = keep(reference.dist2);
  layer.off0 = keep(reference.off0);
  layer.off1 = keep(reference.off1);
  layer.null_mass = keep(reference.null_mass);
  layer.jmax = jmax.data();
  layer.q_ihd = q_ihd.data();
  layer.q_stride = shape.num_heads * dim;
  layer.k_igd = layer.v_igd = k_igd.data();
  layer.kv_stride = shape.num_kv_heads * dim;
  capture.write_rows(layer);

  LayerColumns columns;
  columns.num_keys = columns.col_stride = rows;
  columns.received = keep(reference.received);
  columns.received_tail = keep(reference.received_tail);
  const std::int64_t edge = overview_block_edge(rows), count = (rows + edge - 1) / edge;
  std::vector<float> sum(static_cast<std::size_t>(shape.num_heads * count * count), 0.0f), max(sum);
  for (int h = 0; h < shape.num_heads; ++h)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < rows; ++j) {
        const auto at = static_cast<std::size_t>((h * count + i / edge) * count + j / edge);
        const auto attn = static_cast<float>(reference.attn(h, i, j));
        sum[at] += attn;
        max[at] = std::max(max[at], attn);
      }
  columns.block_edge = edge;
  columns.block_count = count;
  columns.block_sum = sum.data();
  columns.block_max = max.data();
  capture.write_columns(columns);
  capture.end_record(rows, {});
  capture.finish(true);
}

DenseReference e4_reference() {
  constexpr double kAttn[4][4] = {{1.0}, {0.6, 0.4}, {0.5, 0.2, 0.3}, {0.7, 0.1, 0.1, 0.1}};
  DenseReference reference(TestShape{.name = "E4"});
  for (std::size_t i = 0; i < 4; ++i) {
    reference.k_gjd[i * 4 + i] = 1.0f;
    for (std::size_t j = 0; j <= i; ++j) reference.q_hid[i * 4 + j] = static_cast<float>(std::log(kAttn[i][j]));
  }
  reference.compute();
  return reference;
}

}  // namespace headlight::capture
