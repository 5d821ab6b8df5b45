#include "core/engine/probe_common.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headlight::engine {
namespace {

using kernels::AttentionStatistics;

constexpr std::size_t kMaxGroups = 16;
constexpr std::uint8_t kNoGroup = 255;
constexpr std::int64_t kDenseElements = 8 << 20;  // 32 MiB of a dense map at a time

// The float row statistics: where the kernel writes one, and where the sink reads it.
struct RowField {
  float* AttentionStatistics::*written;
  const float* capture::LayerRows::*read;
};
constexpr RowField kRowFields[] = {
    {&AttentionStatistics::lse_hi, &capture::LayerRows::lse},
    {&AttentionStatistics::entropy_hi, &capture::LayerRows::entropy},
    {&AttentionStatistics::pmax_hi, &capture::LayerRows::pmax},
    {&AttentionStatistics::first_hi, &capture::LayerRows::first},
    {&AttentionStatistics::sink_hi, &capture::LayerRows::sink},
    {&AttentionStatistics::local_hi, &capture::LayerRows::local},
    {&AttentionStatistics::dist1_hi, &capture::LayerRows::dist1},
    {&AttentionStatistics::dist2_hi, &capture::LayerRows::dist2},
    {&AttentionStatistics::off0_hi, &capture::LayerRows::off0},
    {&AttentionStatistics::off1_hi, &capture::LayerRows::off1},
    {&AttentionStatistics::null_mass_hi, &capture::LayerRows::null_mass},
};
constexpr std::int64_t kNumFields = std::size(kRowFields);

}  // namespace

RowArrays::RowArrays(int num_heads, std::int64_t stride, int num_groups)
    : stride_(stride),
      plane_(num_heads * stride),
      num_groups_(num_groups),
      values_(static_cast<std::size_t>(plane_ * (kNumFields + num_groups))),
      jmax_(static_cast<std::size_t>(plane_)) {}

std::int64_t RowArrays::bytes(int num_heads, std::int64_t stride, int num_groups) {
  return num_heads * stride * (kNumFields + 1 + num_groups) * std::int64_t{sizeof(float)};
}

AttentionStatistics RowArrays::statistics(std::int64_t slot) {
  AttentionStatistics out;
  out.row_stride = stride_;
  for (std::int64_t f = 0; f < kNumFields; ++f) out.*kRowFields[f].written = values_.data() + f * plane_ + slot;
  out.jmax_hi = jmax_.data() + slot;
  if (num_groups_ > 0) out.group_mass_hig = values_.data() + kNumFields * plane_ + slot * num_groups_;
  return out;
}

void RowArrays::describe(capture::LayerRows& rows) const {
  rows.row_stride = stride_;
  for (std::int64_t f = 0; f < kNumFields; ++f) rows.*kRowFields[f].read = values_.data() + f * plane_;
  rows.jmax = jmax_.data();
  rows.group_mass = num_groups_ > 0 ? values_.data() + kNumFields * plane_ : nullptr;
}

ColumnArrays::ColumnArrays(int heads, std::int64_t keys, std::int64_t blocks)
    : num_heads(heads),
      num_keys(keys),
      block_count(blocks),
      received(static_cast<std::size_t>(heads * keys)),
      received_tail(static_cast<std::size_t>(heads * keys)),
      block_sum(static_cast<std::size_t>(heads * blocks * blocks)),
      block_max(static_cast<std::size_t>(heads * blocks * blocks)) {}

void ColumnArrays::clear(ThreadPool& pool) {
  pool.parallel_for(num_heads, [&](std::int64_t head, int) {
    for (Buffer<float>* array : {&received, &received_tail})
      std::fill_n(array->data() + head * num_keys, num_keys, 0.0f);
    for (Buffer<float>* array : {&block_sum, &block_max})
      std::fill_n(array->data() + head * block_count * block_count, block_count * block_count, 0.0f);
  });
}

void ColumnArrays::attach(AttentionStatistics& statistics) {
  statistics.col_stride = num_keys;
  statistics.received_hj = received.data();
  statistics.received_tail_hj = received_tail.data();
  statistics.block_count = block_count;
  statistics.block_sum = block_count > 0 ? block_sum.data() : nullptr;
  statistics.block_max = block_count > 0 ? block_max.data() : nullptr;
}

std::vector<std::pair<std::string, double>> PhaseClock::list() const {
  return {{"prefill", prefill}, {"decode", decode}, {"logits", logits},
          {"norms", norms},     {"hidden", hidden}, {"sink", sink}};
}

RecordContext::RecordContext(const Engine::Impl& owner, const capture::CapturePlan& capture_plan,
                             const capture::RecordHeader& header, capture::CaptureSink& target, ValueNorms& norms,
                             bool with_generation)
    : engine(owner),
      plan(capture_plan),
      record(header),
      sink(target),
      value_norms(norms),
      generates(with_generation),
      index_of_layer(static_cast<std::size_t>(owner.spec().num_layers), -1) {
  const formats::ModelSpec& spec = owner.spec();
  const auto rows = static_cast<std::size_t>(record.num_rows);
  if (record.segments.size() <= kMaxGroups) num_groups = static_cast<int>(record.segments.size());
  if (num_groups > 0) {
    group_of_key.assign(rows, kNoGroup);
    for (std::size_t j = 0; j < std::min(rows, record.tokens.size()); ++j)
      if (record.tokens[j].segment >= 0) group_of_key[j] = static_cast<std::uint8_t>(record.tokens[j].segment);
  }
  for (std::size_t index = 0; index < plan.layers.size(); ++index)
    index_of_layer[static_cast<std::size_t>(plan.layers[index])] = static_cast<int>(index);
  if (plan.overview) {
    block_edge = capture::overview_block_edge(record.num_rows);
    block_count = (record.num_rows + block_edge - 1) / block_edge;
  }
  const std::size_t column_sets = generates ? plan.layers.size() : std::min<std::size_t>(1, plan.layers.size());
  for (std::size_t set = 0; set < column_sets; ++set)
    columns.emplace_back(spec.num_heads, record.num_rows, block_count);
  first_states.resize(static_cast<std::size_t>((spec.num_layers + 1) * spec.hidden_size));
  medians.assign(static_cast<std::size_t>(spec.num_layers + 1), std::numeric_limits<float>::infinity());
}

bool RecordContext::head_kept(int index, int head) const {
  const std::size_t at = static_cast<std::size_t>(index) * static_cast<std::size_t>(engine.spec().num_heads);
  return plan.heads_lh[at + static_cast<std::size_t>(head)] != 0;
}

kernels::AttentionStatisticsPlan RecordContext::statistics_plan() const {
  kernels::AttentionStatisticsPlan out;
  out.sink_size = plan.sink_size;
  out.local_window = plan.local_window;
  out.tail_rows = {std::max<std::int64_t>(0, record.num_prompt_tokens - plan.tail_rows), record.num_prompt_tokens};
  out.block_edge = block_edge;
  out.num_groups = num_groups;
  out.group_of_key_j = num_groups > 0 ? group_of_key.data() : nullptr;
  return out;
}

void RecordContext::write_columns(int index, std::int64_t num_keys) {
  const ColumnArrays& arrays = columns_of(index);
  capture::LayerColumns out;
  out.index = index;
  out.num_keys = num_keys;
  out.col_stride = arrays.num_keys;
  out.received = arrays.received.data();
  out.received_tail = arrays.received_tail.data();
  out.block_edge = block_edge;
  out.block_count = block_count;
  out.block_sum = block_count > 0 ? arrays.block_sum.data() : nullptr;
  out.block_max = block_count > 0 ? arrays.block_max.data() : nullptr;
  const PhaseClock::Scope timed(clock.sink);
  sink.write_columns(out);
}

void RecordContext::observe_hidden(int level, std::int64_t start, const float* x_id, std::int64_t n, HiddenFacts& facts,
                                   std::int64_t slot) {
  const PhaseClock::Scope timed(clock.hidden);
  const std::int64_t d = engine.spec().hidden_size;
  float* first = first_states.data() + level * d;
  if (start == 0) std::copy_n(x_id, d, first);
  hidden_facts(engine.pool, x_id, n, d, first, facts, slot);
  const float* absmax = facts.absmax.data() + slot;
  float& median = medians[static_cast<std::size_t>(level)];
  // The median is that of the prompt. It costs two passes, so it is taken only where an entry could be massive, or
  // where generated rows may still bring one.
  if (start == 0 && (generates || *std::max_element(absmax, absmax + n) > kMassiveAbsolute))
    median = median_abs(engine.pool, x_id, n * d);
  find_massive(x_id, n, d, start, level, median, absmax, massive);
}

void RecordContext::write_hidden(int level, std::int64_t start, std::int64_t n, const HiddenFacts& facts,
                                 const float* x_id) {
  capture::HiddenRows rows;
  rows.level = level;
  rows.row_begin = start;
  rows.num_rows = n;
  rows.norm_l2 = facts.norm_l2.data();
  rows.absmax = facts.absmax.data();
  rows.mean = facts.mean.data();
  rows.rms = facts.rms.data();
  rows.absmax_dim = facts.absmax_dim.data();
  rows.cos_first = facts.cos_first.data();
  rows.x_id = plan.hidden_states ? x_id : nullptr;
  const PhaseClock::Scope timed(clock.sink);
  sink.write_hidden(rows);
  if (!massive.empty()) sink.write_massive(massive);
  massive.clear();
}

void RecordContext::write_dense(int index, const kernels::AttentionInputs& in, const float* lse_hi,
                                std::int64_t lse_stride) {
  const std::int64_t rows_per_chunk = std::clamp<std::int64_t>(kDenseElements / in.num_keys, 1, in.num_queries);
  Buffer<float> attn_ij(static_cast<std::size_t>(rows_per_chunk * in.num_keys));
  for (int head = 0; head < in.num_heads; ++head) {
    if (!head_kept(index, head)) continue;
    for (std::int64_t first = 0; first < in.num_queries; first += rows_per_chunk) {
      const std::int64_t rows = std::min(rows_per_chunk, in.num_queries - first);
      engine.pool.parallel_for(rows, [&](std::int64_t r, int) {
        const std::int64_t row = first + r;
        float* attn_j = attn_ij.data() + r * in.num_keys;
        std::fill_n(attn_j, in.num_keys, 0.0f);
        const kernels::KeyRange keys = in.mask.visible(in.query_start + row, in.num_keys);
        if (keys.size() == 0) return;
        kernels::attention_scores_row(in, head, row, keys, attn_j + keys.begin);
        const float lse = lse_hi[head * lse_stride + row];
        for (std::int64_t j = keys.begin; j < keys.end; ++j) attn_j[j] = std::exp(attn_j[j] - lse);
      });
      const PhaseClock::Scope timed(clock.sink);
      sink.write_dense({index, head, in.query_start + first, rows, in.num_keys, attn_ij.data()});
    }
  }
}

}  // namespace headlight::engine
