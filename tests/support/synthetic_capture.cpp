#include "tests/support/synthetic_capture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>

#include "core/capture/derive.h"

namespace headlight::testing_support {
namespace {

using namespace capture;

constexpr std::int64_t kBlockRows = 16;
constexpr int kTop = 5;

float rounded(float value, DType type) {
  if (type == DType::f16) return f16_to_f32(f32_to_f16(value));
  return type == DType::bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

// Everything of one layer, [H][N] or [i][h][d], from the formulas in float64.
struct Layer {
  const SyntheticRun& run;
  std::int64_t n, segments;
  std::vector<float> q, k, v, key_norm, value_norm, u_norm, group_mass;
  std::vector<float> lse, entropy, pmax, first, sink, local, dist1, dist2, off0, off1, null_mass;
  std::vector<std::int32_t> jmax;
  std::vector<float> attn;  // [H][N][N]

  Layer(const SyntheticRun& owner, const RecordHeader& record, std::size_t index, std::mt19937& random);
  void row(const LayerGeometry& geometry, const LayerParameters& p, const RecordHeader& record, int h, std::int64_t i);
  LayerColumns columns(int index, std::int64_t rows, std::vector<std::vector<float>>& keep) const;
};

Layer::Layer(const SyntheticRun& owner, const RecordHeader& record, std::size_t index, std::mt19937& random)
    : run(owner), n(owner.num_rows()), segments(static_cast<std::int64_t>(record.segments.size())) {
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values, std::int64_t count, bool operand) {
    values.resize(static_cast<std::size_t>(count));
    for (float& value : values) value = operand ? rounded(normal(random), run.replay_dtype) : std::fabs(normal(random));
  };
  fill(q, n * run.num_heads * run.head_dim, true);
  fill(k, n * run.num_kv_heads * run.head_dim, true);
  fill(v, n * run.num_kv_heads * run.head_dim, true);
  fill(key_norm, n * run.num_kv_heads, false);
  fill(value_norm, n * run.num_kv_heads, false);
  fill(u_norm, n * run.num_heads, false);
  const auto cells = static_cast<std::size_t>(run.num_heads * n);
  for (auto* values : {&entropy, &pmax, &first, &sink, &local, &dist1, &dist2, &off0, &off1, &null_mass})
    values->assign(cells, 0.0f);
  lse.assign(cells, -std::numeric_limits<float>::infinity());
  jmax.assign(cells, -1);
  attn.assign(cells * static_cast<std::size_t>(n), 0.0f);
  group_mass.assign(cells * static_cast<std::size_t>(segments), 0.0f);
  const LayerGeometry geometry = layer_geometry(record, n, static_cast<int>(index));
  for (int h = 0; h < run.num_heads; ++h)
    for (std::int64_t i = 0; i < n; ++i) row(geometry, record.layers[index], record, h, i);
}

void Layer::row(const LayerGeometry& geometry, const LayerParameters& p, const RecordHeader& record, int h,
                std::int64_t i) {
  const auto at = static_cast<std::size_t>(h * n + i);
  const int g = h * run.num_kv_heads / run.num_heads;
  const auto keys = geometry.mask.visible(i, n);
  if (keys.size() == 0) return;
  std::vector<double> score;
  double sum =
      p.null_logit_h.empty() ? 0.0 : std::exp(static_cast<double>(p.null_logit_h[static_cast<std::size_t>(h)]));
  const double null = sum;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    double s = 0.0;
    for (int d = 0; d < run.head_dim; ++d)
      s += static_cast<double>(q[static_cast<std::size_t>((i * run.num_heads + h) * run.head_dim + d)]) *
           static_cast<double>(k[static_cast<std::size_t>((j * run.num_kv_heads + g) * run.head_dim + d)]);
    s *= static_cast<double>(p.scale);
    if (p.soft_cap > 0.0f) s = static_cast<double>(p.soft_cap) * std::tanh(s / static_cast<double>(p.soft_cap));
    score.push_back(s);
    sum += std::exp(s);
  }
  double h_sum = 0.0, d1 = 0.0, d2 = 0.0, best = -1.0;
  const double m = null / sum;
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    const double a = std::exp(score[static_cast<std::size_t>(j - keys.begin)]) / sum;
    const double distance = std::fabs(static_cast<double>(i - j));
    attn[at * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)] = static_cast<float>(a);
    h_sum -= a * std::log(a);
    d1 += a * distance;
    d2 += a * distance * distance;
    if (a > best) best = a, jmax[at] = static_cast<std::int32_t>(j);
    if (j == record.first_key) first[at] = static_cast<float>(a);
    if (j < record.first_key + 4) sink[at] += static_cast<float>(a);
    if (j <= i && j > i - 16) local[at] += static_cast<float>(a);
    if (j == i) off0[at] = static_cast<float>(a);
    if (j == i - 1) off1[at] = static_cast<float>(a);
    for (std::int64_t s = 0; s < segments; ++s)
      if (record.segments[static_cast<std::size_t>(s)].begin <= j &&
          j < record.segments[static_cast<std::size_t>(s)].end)
        group_mass[at * static_cast<std::size_t>(segments) + static_cast<std::size_t>(s)] += static_cast<float>(a);
  }
  if (m > 0.0) h_sum -= m * std::log(m);
  lse[at] = static_cast<float>(std::log(sum));
  entropy[at] = static_cast<float>(h_sum);
  pmax[at] = static_cast<float>(best);
  dist1[at] = static_cast<float>(d1);
  dist2[at] = static_cast<float>(d2);
  null_mass[at] = static_cast<float>(m);
}

LayerColumns Layer::columns(int index, std::int64_t rows, std::vector<std::vector<float>>& keep) const {
  const auto heads = static_cast<std::size_t>(run.num_heads), keys = static_cast<std::size_t>(rows);
  const std::int64_t announced =
      run.prompt_tokens + std::max<std::int64_t>(0, std::max(run.generated_tokens, run.announced_tokens) - 1);
  const std::int64_t edge = overview_block_edge(announced), count = (announced + edge - 1) / edge;
  std::vector<float> received(heads * keys, 0.0f), tail(received),
      sum(heads * static_cast<std::size_t>(count * count), 0.0f), max(sum);
  for (std::size_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < rows; ++j) {
        const float a =
            attn[(h * static_cast<std::size_t>(n) + static_cast<std::size_t>(i)) * static_cast<std::size_t>(n) +
                 static_cast<std::size_t>(j)];
        received[h * keys + static_cast<std::size_t>(j)] += a;
        if (i < run.prompt_tokens && i >= run.prompt_tokens - 8) tail[h * keys + static_cast<std::size_t>(j)] += a;
        const std::size_t block = (h * static_cast<std::size_t>(count) + static_cast<std::size_t>(i / edge)) *
                                      static_cast<std::size_t>(count) +
                                  static_cast<std::size_t>(j / edge);
        sum[block] += a;
        max[block] = std::max(max[block], a);
      }
  LayerColumns out;
  out.index = index;
  out.num_keys = out.col_stride = rows;
  keep = {std::move(received), std::move(tail), std::move(sum), std::move(max)};
  out.received = keep[0].data();
  out.received_tail = keep[1].data();
  if (run.overview) {
    out.block_edge = edge;
    out.block_count = count;
    out.block_sum = keep[2].data();
    out.block_max = keep[3].data();
  }
  return out;
}

// Rows [begin, end) of one layer to the sink.
void write_layer_rows(const SyntheticRun& run, const Layer& layer, int index, std::int64_t begin, std::int64_t end,
                      CaptureSink& sink) {
  LayerRows rows;
  rows.index = index;
  rows.row_begin = begin;
  rows.num_rows = end - begin;
  rows.row_stride = layer.n;
  const auto at = [&](const std::vector<float>& values) { return values.data() + begin; };
  rows.lse = at(layer.lse);
  rows.entropy = at(layer.entropy);
  rows.pmax = at(layer.pmax);
  rows.first = at(layer.first);
  rows.sink = at(layer.sink);
  rows.local = at(layer.local);
  rows.dist1 = at(layer.dist1);
  rows.dist2 = at(layer.dist2);
  rows.off0 = at(layer.off0);
  rows.off1 = at(layer.off1);
  rows.null_mass = at(layer.null_mass);
  rows.jmax = layer.jmax.data() + begin;
  rows.group_mass = layer.segments > 0 ? layer.group_mass.data() + begin * layer.segments : nullptr;
  rows.key_norm_gi = at(layer.key_norm);
  rows.value_norm_gi = at(layer.value_norm);
  rows.u_norm_hi = at(layer.u_norm);
  if (run.level != CaptureLevel::summary) {
    rows.q_stride = run.num_heads * run.head_dim;
    rows.kv_stride = run.num_kv_heads * run.head_dim;
    rows.q_ihd = layer.q.data() + begin * rows.q_stride;
    rows.k_igd = layer.k.data() + begin * rows.kv_stride;
    if (run.store_values) rows.v_igd = layer.v.data() + begin * rows.kv_stride;
  }
  sink.write_rows(rows);
  if (run.level != CaptureLevel::maps) return;
  const auto header = run.header();
  for (int h = 0; h < run.num_heads; ++h) {
    if (header.plan.heads_lh[static_cast<std::size_t>(index * run.num_heads + h)] == 0) continue;
    std::vector<float> block;
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t j = 0; j < end; ++j)
        block.push_back(layer.attn[static_cast<std::size_t>((h * layer.n + i) * layer.n + j)]);
    sink.write_dense({index, h, begin, end - begin, end, block.data()});
  }
}

std::vector<TopkRow> top_rows(const SyntheticRun& run, const Layer& layer, int model_layer) {
  std::vector<TopkRow> out;
  for (int h = 0; h < run.num_heads; ++h)
    for (const std::int64_t i : {run.prompt_tokens / 2, run.prompt_tokens - 1}) {
      TopkRow row{model_layer, h, i, {}, {}, 0.0f};
      for (std::int64_t j = 0; j <= std::min<std::int64_t>(i, 3); ++j) {
        row.keys.push_back(static_cast<std::int32_t>(j));
        row.values.push_back(layer.attn[static_cast<std::size_t>((h * layer.n + i) * layer.n + j)]);
      }
      row.remainder = 0.25f * static_cast<float>(h);
      out.push_back(std::move(row));
    }
  return out;
}

void write_hidden(const SyntheticRun& run, int level, std::int64_t begin, std::int64_t end, std::mt19937& random,
                  CaptureSink& sink) {
  std::normal_distribution<float> normal;
  const auto count = static_cast<std::size_t>(end - begin);
  std::vector<std::vector<float>> facts(5, std::vector<float>(count));
  for (auto& values : facts)
    for (float& value : values) value = normal(random);
  for (const std::size_t norm : {0u, 1u, 3u})
    for (float& value : facts[norm]) value = std::abs(value);
  std::vector<std::int32_t> dims(count, level);
  std::vector<float> states(count * static_cast<std::size_t>(run.hidden_size));
  for (float& value : states) value = normal(random);
  HiddenRows rows;
  rows.level = level;
  rows.row_begin = begin;
  rows.num_rows = end - begin;
  rows.norm_l2 = facts[0].data();
  rows.absmax = facts[1].data();
  rows.mean = facts[2].data();
  rows.rms = facts[3].data();
  rows.cos_first = facts[4].data();
  rows.absmax_dim = dims.data();
  rows.x_id = run.hidden_states ? states.data() : nullptr;
  sink.write_hidden(rows);
  if (level == 1 && begin == 0) {
    const MassiveActivation entries[] = {{level, 3, 0, 420.0f}, {level, 7, 1, -130.0f}};
    sink.write_massive(std::span(entries).first(std::min<std::size_t>(count, 2)));
  }
}

void write_logits(const SyntheticRun& run, std::int64_t row, std::mt19937& random, bool full, CaptureSink& sink) {
  std::normal_distribution<float> normal;
  std::vector<float> logits(static_cast<std::size_t>(run.vocab_size)), logprob(kTop);
  std::vector<std::int32_t> id(kTop);
  for (float& value : logits) value = normal(random);
  for (int r = 0; r < kTop; ++r) {
    id[static_cast<std::size_t>(r)] = static_cast<std::int32_t>((row + r) % run.vocab_size);
    logprob[static_cast<std::size_t>(r)] = -0.5f * static_cast<float>(r + 1);
  }
  const float entropy = 1.5f, target = row + 1 == run.num_rows() ? std::numeric_limits<float>::quiet_NaN() : -2.0f;
  LogitRows rows;
  rows.row_begin = row;
  rows.num_rows = 1;
  rows.k = kTop;
  rows.top_id = id.data();
  rows.top_logprob = logprob.data();
  rows.entropy = &entropy;
  rows.target_logprob = &target;
  if (full) rows.full = logits;
  sink.write_logits(rows);
}

}  // namespace

CaptureHeader SyntheticRun::header() const {
  CaptureHeader out;
  ModelInfo& m = out.model;
  m.name = "synthetic";
  m.architecture = "llama";
  m.file_format = "gguf";
  m.quantization = "Q4_1";
  m.num_layers = num_layers;
  m.num_heads = num_heads;
  m.num_kv_heads = num_kv_heads;
  m.head_dim = head_dim;
  m.hidden_size = hidden_size;
  m.vocab_size = vocab_size;
  m.context_length = 2048;
  m.num_parameters = 12345;
  m.rope_theta = 10000.0;
  m.config_json = "{\"hidden_size\": 16}";
  m.file_names = {"synthetic.gguf"};
  m.file_sizes = {987654321};
  m.file_sha256 = {std::string(64, 'a')};
  m.tokenizer_sha256 = std::string(64, 'b');
  m.chat_template = "{{ messages }}";
  out.provenance = {"0.1.0",
                    "abcdef",
                    "Release",
                    "g++ 12",
                    "a cpu",
                    "avx2",
                    "f32",
                    "f32",
                    "none",
                    "weight",
                    12,
                    "cpu",
                    "headlight capture",
                    "2026-01-02T03:04:05Z",
                    2,
                    7,
                    true};
  CapturePlan& plan = out.plan;
  plan.level = level;
  plan.layers = layers;
  plan.heads_lh.assign(layers.size() * static_cast<std::size_t>(num_heads), 1);
  if (some_heads_only)
    for (std::size_t h = 0; h < plan.heads_lh.size(); ++h) plan.heads_lh[h] = h % 3 != 1;
  plan.row_begin = row_begin;
  plan.row_end = row_end;
  plan.replay_dtype = replay_dtype;
  plan.store_values = store_values;
  plan.overview = overview;
  plan.logits = logits;
  plan.hidden_states = hidden_states;
  plan.local_window = 16;
  plan.tail_rows = 8;
  out.num_records = num_records;
  return out;
}

RecordHeader SyntheticRun::record(std::int64_t r) const {
  RecordHeader out;
  out.record_id = "record " + std::to_string(r);
  out.source_line = r;
  out.label = r % 2;
  out.num_prompt_tokens = prompt_tokens;
  out.num_rows = prompt_tokens + std::max<std::int64_t>(0, std::max(generated_tokens, announced_tokens) - 1);
  out.bos_present = true;
  out.first_key = first_key;
  for (std::int64_t i = 0; i < prompt_tokens; ++i) {
    TokenInfo token;
    token.id = static_cast<std::int32_t>((i * 7 + r) % vocab_size);
    token.kind = i == 0 ? 1 : 0;
    token.piece = i == 0 ? "<s>" : (i % 5 == 0 ? std::string("\xff\x00z", 3) : " w" + std::to_string(i));
    if (i > 0) {
      token.byte_begin = static_cast<std::int64_t>(out.text.size());
      token.char_begin = token.byte_begin;
      out.text += " w" + std::to_string(i);
      token.byte_end = token.char_end = static_cast<std::int64_t>(out.text.size());
    }
    if (num_segments > 0) token.segment = static_cast<std::int16_t>(i * num_segments / prompt_tokens);
    out.tokens.push_back(std::move(token));
  }
  for (int s = 0; s < num_segments; ++s)
    out.segments.push_back(
        {segment_name + " " + std::to_string(s), s * prompt_tokens / num_segments, (s + 1) * prompt_tokens / num_segments});
  for (std::size_t l = 0; l < layers.size(); ++l) {
    LayerParameters p;
    p.layer = layers[l];
    p.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    p.soft_cap = soft_cap;
    p.window = l % 2 == 0 ? window : 0;
    p.causal = causal;
    if (null_logit)
      for (int h = 0; h < num_heads; ++h) p.null_logit_h.push_back(0.1f * static_cast<float>(h));
    out.layers.push_back(std::move(p));
  }
  return out;
}

void SyntheticRun::write_record(CaptureSink& sink, std::int64_t r) const {
  const RecordHeader header = record(r);
  std::mt19937 random(seed * 1000003u + static_cast<std::uint32_t>(r));
  const auto flush = [&](std::int64_t rows) {
    sink.flush();
    if (after_flush) after_flush(rows);
  };
  sink.begin_record(header);
  std::vector<Layer> all;
  for (std::size_t l = 0; l < layers.size(); ++l) all.emplace_back(*this, header, l, random);
  std::vector<std::vector<float>> keep;
  for (int depth = 0; depth <= num_layers; ++depth) {
    write_hidden(*this, depth, 0, prompt_tokens, random, sink);
    const auto found = std::find(layers.begin(), layers.end(), depth);
    if (found == layers.end()) continue;
    const int index = static_cast<int>(found - layers.begin());
    write_layer_rows(*this, all[static_cast<std::size_t>(index)], index, 0, prompt_tokens, sink);
    sink.write_topk(top_rows(*this, all[static_cast<std::size_t>(index)], depth));
    sink.write_columns(all[static_cast<std::size_t>(index)].columns(index, prompt_tokens, keep));
    flush(prompt_tokens);
  }
  if (logits == LogitsKept::all)
    for (std::int64_t i = 0; i < prompt_tokens; ++i) write_logits(*this, i, random, true, sink);
  else if (logits == LogitsKept::last)
    write_logits(*this, prompt_tokens - 1, random, true, sink);
  const std::int64_t rows = num_rows();
  std::int64_t appended = 0;
  const auto append = [&](std::int64_t until) {
    for (; appended < until; ++appended) {
      TokenInfo token;
      token.id = static_cast<std::int32_t>(appended % vocab_size);
      token.kind = 6;
      token.piece = "g" + std::to_string(appended);
      sink.append_generated(token, -0.1f * static_cast<float>(appended));
    }
  };
  if (generated_tokens > 0) append(1);
  for (std::int64_t begin = prompt_tokens; begin < rows; begin += kBlockRows) {
    const std::int64_t end = std::min(rows, begin + kBlockRows);
    for (std::size_t l = 0; l < layers.size(); ++l)
      write_layer_rows(*this, all[l], static_cast<int>(l), begin, end, sink);
    for (int depth = 0; depth <= num_layers; ++depth) write_hidden(*this, depth, begin, end, random, sink);
    for (std::int64_t i = begin; i < end && logits != LogitsKept::none; ++i)
      write_logits(*this, i, random, logits == LogitsKept::all, sink);
    append(end - prompt_tokens + 1);
    flush(end);
  }
  if (header.num_rows > prompt_tokens)
    for (std::size_t l = 0; l < layers.size(); ++l) sink.write_columns(all[l].columns(static_cast<int>(l), rows, keep));
  sink.end_record(rows, {{"prefill", 0.5}, {"decode", 0.25}});
}

void SyntheticRun::write(CaptureSink& sink, bool complete) const {
  sink.begin(header());
  for (std::int64_t r = 0; r < num_records; ++r) write_record(sink, r);
  sink.finish(complete);
}

}  // namespace headlight::testing_support
