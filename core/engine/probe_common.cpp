#include "core/engine/probe_common.h"

#include <algorithm>

namespace headlight::engine {
namespace {

constexpr std::size_t kMaxGroups = 16;
constexpr std::uint8_t kNoGroup = 255;
constexpr std::int64_t kDenseElements = 8 << 20;  // 32 MiB of a dense map at a time

}  // namespace

RecordContext::RecordContext(const Engine::Impl& owner, const capture::CapturePlan& capture_plan,
                             const capture::RecordHeader& header, capture::CaptureSink& target, Runner& sequence,
                             bool with_generation, const Edits* interventions)
    : engine(owner),
      plan(capture_plan),
      record(header),
      sink(target),
      runner(sequence),
      generates(with_generation),
      edits(interventions),
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
  for (std::size_t set = 0; set < column_sets; ++set) {
    columns.emplace_back(ColumnLayout{spec.num_heads, record.num_rows, block_count}).clear(engine.pool);
    if (record.has_base) base_columns.emplace_back(ColumnLayout{spec.num_heads, record.num_rows, 0}).clear(engine.pool);
  }
}

const kernels::RowProgram* RecordContext::program_of(int index) const {
  return edits == nullptr ? nullptr : edits->rows(plan.layers[static_cast<std::size_t>(index)]);
}

ColumnArrays& RecordContext::base_columns_of(int index) {
  if (program_of(index) == nullptr) return columns_of(index);
  return base_columns[columns_are_shared() ? 0 : static_cast<std::size_t>(index)];
}

void RecordContext::clear_columns(int index) {
  columns_of(index).clear(engine.pool);
  if (record.has_base) base_columns_of(index).clear(engine.pool);
}

void RecordContext::write_base(const capture::LayerRows& rows, const capture::LayerRows* base) {
  if (!record.has_base) return;
  capture::LayerRows out = base != nullptr ? *base : rows;
  out.index = rows.index;
  out.row_begin = rows.row_begin;
  out.num_rows = rows.num_rows;
  out.base = true;
  out.q_ihd = out.k_igd = out.v_igd = out.key_norm_gi = out.value_norm_gi = out.u_norm_hi = nullptr;
  const PhaseClock::Scope timed(clock.sink);
  sink.write_rows(out);
}

bool RecordContext::head_kept(int index, int head) const {
  const std::size_t at = static_cast<std::size_t>(index) * static_cast<std::size_t>(engine.spec().num_heads);
  return plan.heads_lh[at + static_cast<std::size_t>(head)] != 0;
}

AttentionWish RecordContext::wish_for(int index) {
  AttentionWish out;
  out.plan.sink_size = plan.sink_size;
  out.plan.local_window = plan.local_window;
  out.plan.tail_rows = {std::max<std::int64_t>(0, record.num_prompt_tokens - plan.tail_rows), record.num_prompt_tokens};
  out.plan.block_edge = block_edge;
  out.plan.num_groups = num_groups;
  out.plan.group_of_key_j = num_groups > 0 ? group_of_key.data() : nullptr;
  out.columns = &columns_of(index);
  if (record.has_base && program_of(index) != nullptr) out.base_columns = &base_columns_of(index);
  out.columns_later = generates;
  out.operands = replay();
  return out;
}

void RecordContext::write_columns(int index, std::int64_t num_keys) {
  capture::LayerColumns out = columns_of(index).describe();
  out.index = index;
  out.num_keys = num_keys;
  out.block_edge = block_edge;
  const PhaseClock::Scope timed(clock.sink);
  sink.write_columns(out);
  if (!record.has_base) return;
  out = base_columns_of(index).describe();
  out.index = index;
  out.num_keys = num_keys;
  out.base = true;
  sink.write_columns(out);
}

void RecordContext::write_hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) {
  const PhaseClock::Scope timed(clock.sink);
  sink.write_hidden(rows);
  if (!massive.empty()) sink.write_massive(massive);
}

void RecordContext::write_dense(const capture::LayerRows& rows, std::int64_t num_keys) {
  const std::int64_t rows_per_chunk = std::clamp<std::int64_t>(kDenseElements / num_keys, 1, rows.num_rows);
  Buffer<float> attn_ij(static_cast<std::size_t>(rows_per_chunk * num_keys));
  MapRows wanted;
  wanted.layer = plan.layers[static_cast<std::size_t>(rows.index)];
  wanted.num_keys = num_keys;
  wanted.q_stride = rows.q_stride;
  wanted.program_h = program_of(rows.index);
  for (int head = 0; head < engine.spec().num_heads; ++head) {
    if (!head_kept(rows.index, head)) continue;
    wanted.head = head;
    for (std::int64_t first = 0; first < rows.num_rows; first += rows_per_chunk) {
      wanted.num_rows = std::min(rows_per_chunk, rows.num_rows - first);
      wanted.first_row = rows.row_begin + first;
      wanted.q_ihd = rows.q_ihd + first * rows.q_stride;
      wanted.lse_i = rows.lse + head * rows.row_stride + first;
      runner.map_rows(wanted, attn_ij.data());
      const PhaseClock::Scope timed(clock.sink);
      sink.write_dense({rows.index, head, wanted.first_row, wanted.num_rows, num_keys, attn_ij.data()});
    }
  }
}

}  // namespace headlight::engine
