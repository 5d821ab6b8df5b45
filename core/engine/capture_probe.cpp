#include "core/engine/capture_probe.h"

#include <algorithm>

namespace headlight::engine {
namespace {

std::size_t elements(std::int64_t a, std::int64_t b) {
  return static_cast<std::size_t>(a * b);
}

std::int64_t q_size(const formats::ModelSpec& spec) {
  return std::int64_t{spec.num_heads} * spec.head_dim;
}
std::int64_t kv_size(const formats::ModelSpec& spec) {
  return std::int64_t{spec.num_kv_heads} * spec.head_dim;
}

/// The norms of keys and values, [heads][stride]; computes and attaches them.
void attach_norms(RecordContext& context, int layer, const float* k_igd, const float* v_igd, std::int64_t n,
                  std::int64_t stride, Buffer<float>& key_norm, Buffer<float>& value_norm, Buffer<float>& u_norm,
                  capture::LayerRows& rows) {
  const PhaseClock::Scope timed(context.clock.norms);
  const formats::ModelSpec& spec = context.engine.spec();
  ThreadPool& pool = context.engine.pool;
  // Norm arrays share the row stride of the statistics.
  head_norms(pool, k_igd, n, stride, spec.num_kv_heads, spec.head_dim, key_norm.data(), rows.row_stride);
  head_norms(pool, v_igd, n, stride, spec.num_kv_heads, spec.head_dim, value_norm.data(), rows.row_stride);
  context.value_norms.compute(layer, v_igd, n, stride, u_norm.data(), rows.row_stride);
  rows.key_norm_gi = key_norm.data();
  rows.value_norm_gi = value_norm.data();
  rows.u_norm_hi = u_norm.data();
}

std::vector<std::int64_t> topk_positions(const RecordContext& context) {
  if (context.plan.topk <= 0 || context.plan.topk_rows <= 0) return {};
  return capture::topk_row_positions(context.plan, context.record.num_prompt_tokens);
}

}  // namespace

PromptProbe::PromptProbe(RecordContext& context)
    : context_(context),
      rows_(context.engine.spec().num_heads, context.record.num_prompt_tokens, context.num_groups),
      facts_(context.record.num_prompt_tokens),
      topk_(topk_positions(context), context.engine.spec().num_heads, context.plan.topk),
      key_norm_gi_(elements(context.engine.spec().num_kv_heads, context.record.num_prompt_tokens)),
      value_norm_gi_(elements(context.engine.spec().num_kv_heads, context.record.num_prompt_tokens)),
      u_norm_hi_(elements(context.engine.spec().num_heads, context.record.num_prompt_tokens)) {}

void PromptProbe::hidden(int level, std::int64_t start, const float* x_id, std::int64_t n) {
  context_.observe_hidden(level, start, x_id, n, facts_, 0);
  context_.write_hidden(level, start, n, facts_, x_id);
}

void PromptProbe::attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                            const AttentionCall& call) {
  const int index = context_.recorded_index(layer);
  if (index < 0) return LayerObserver::attention(layer, pool, workspace, call);
  ColumnArrays& columns = context_.columns_of(index);
  columns.clear(pool);  // new, or used by the layer before
  kernels::AttentionStatisticsPlan plan = context_.statistics_plan();
  plan.tap = &topk_;
  kernels::AttentionStatistics statistics = rows_.statistics(0);
  columns.attach(statistics);
  kernels::attention(pool, workspace, call.in, call.out_ihd, call.out_stride, &plan, &statistics);
  write_rows(layer, index, call);
  if (context_.maps()) context_.write_dense(index, call.in, statistics.lse_hi, statistics.row_stride);
  context_.write_columns(index, call.in.num_keys);
}

void PromptProbe::write_rows(int layer, int index, const AttentionCall& call) {
  capture::LayerRows rows;
  rows.index = index;
  rows.num_rows = call.in.num_queries;
  rows_.describe(rows);
  attach_norms(context_, layer, call.k_igd, call.v_igd, rows.num_rows, call.kv_row_stride, key_norm_gi_, value_norm_gi_,
               u_norm_hi_, rows);
  if (context_.replay()) {
    rows.q_ihd = call.in.q_ihd;
    rows.q_stride = call.in.q_stride;
    rows.k_igd = call.k_igd;
    rows.v_igd = context_.plan.store_values ? call.v_igd : nullptr;
    rows.kv_stride = call.kv_row_stride;
  }
  const PhaseClock::Scope timed(context_.clock.sink);
  context_.sink.write_rows(rows);
  const auto& topk = topk_.rows(layer);
  if (!topk.empty()) context_.sink.write_topk(topk);
}

void PromptProbe::layer_done(int /*layer*/) {
  ++layers_done_;
  const PhaseClock::Scope timed(context_.clock.sink);
  context_.sink.flush();
}

DecodeProbe::LayerBlock::LayerBlock(const formats::ModelSpec& spec, int num_groups)
    : rows(spec.num_heads, kBlockRows, num_groups),
      q_ihd(elements(kBlockRows, q_size(spec))),
      k_igd(elements(kBlockRows, kv_size(spec))),
      v_igd(elements(kBlockRows, kv_size(spec))) {}

DecodeProbe::DecodeProbe(RecordContext& context)
    : context_(context),
      key_norm_gi_(elements(context.engine.spec().num_kv_heads, kBlockRows)),
      value_norm_gi_(elements(context.engine.spec().num_kv_heads, kBlockRows)),
      u_norm_hi_(elements(context.engine.spec().num_heads, kBlockRows)),
      first_row_(context.record.num_prompt_tokens) {
  const formats::ModelSpec& spec = context.engine.spec();
  for (std::size_t index = 0; index < context.plan.layers.size(); ++index)
    blocks_.emplace_back(spec, context.num_groups);
  for (int level = 0; level <= spec.num_layers; ++level) facts_.emplace_back(kBlockRows);
  if (context.plan.hidden_states) states_.resize(elements(spec.num_layers + 1, kBlockRows * spec.hidden_size));
}

std::int64_t DecodeProbe::bytes(const formats::ModelSpec& spec, const capture::CapturePlan& plan, int num_groups) {
  const std::int64_t row_elements = q_size(spec) + 2 * kv_size(spec);
  const std::int64_t layers = static_cast<std::int64_t>(plan.layers.size());
  const std::int64_t states = plan.hidden_states ? (spec.num_layers + 1) * kBlockRows * spec.hidden_size : 0;
  return layers * (RowArrays::bytes(spec.num_heads, kBlockRows, num_groups) +
                   kBlockRows * row_elements * std::int64_t{sizeof(float)}) +
         states * std::int64_t{sizeof(float)};
}

void DecodeProbe::hidden(int level, std::int64_t start, const float* x_id, std::int64_t n) {
  context_.observe_hidden(level, start, x_id, n, facts_[static_cast<std::size_t>(level)], count_);
  if (!states_.empty()) {
    const std::int64_t d = context_.engine.spec().hidden_size;
    std::copy_n(x_id, d, states_.data() + (level * kBlockRows + count_) * d);
  }
}

void DecodeProbe::attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                            const AttentionCall& call) {
  const int index = context_.recorded_index(layer);
  if (index < 0) return LayerObserver::attention(layer, pool, workspace, call);
  LayerBlock& block = blocks_[static_cast<std::size_t>(index)];
  const formats::ModelSpec& spec = context_.engine.spec();
  const kernels::AttentionStatisticsPlan plan = context_.statistics_plan();
  kernels::AttentionStatistics statistics = block.rows.statistics(count_);
  context_.columns_of(index).attach(statistics);
  kernels::attention(pool, workspace, call.in, call.out_ihd, call.out_stride, &plan, &statistics);
  std::copy_n(call.in.q_ihd, q_size(spec), block.q_ihd.data() + count_ * q_size(spec));
  std::copy_n(call.k_igd, kv_size(spec), block.k_igd.data() + count_ * kv_size(spec));
  std::copy_n(call.v_igd, kv_size(spec), block.v_igd.data() + count_ * kv_size(spec));
  block.inputs = call.in;
}

void DecodeProbe::write_layer(int layer, int index) {
  LayerBlock& block = blocks_[static_cast<std::size_t>(index)];
  const formats::ModelSpec& spec = context_.engine.spec();
  capture::LayerRows rows;
  rows.index = index;
  rows.row_begin = first_row_;
  rows.num_rows = count_;
  block.rows.describe(rows);
  attach_norms(context_, layer, block.k_igd.data(), block.v_igd.data(), count_, kv_size(spec), key_norm_gi_,
               value_norm_gi_, u_norm_hi_, rows);
  if (context_.replay()) {
    rows.q_ihd = block.q_ihd.data();
    rows.q_stride = q_size(spec);
    rows.k_igd = block.k_igd.data();
    rows.v_igd = context_.plan.store_values ? block.v_igd.data() : nullptr;
    rows.kv_stride = kv_size(spec);
  }
  {
    const PhaseClock::Scope timed(context_.clock.sink);
    context_.sink.write_rows(rows);
  }
  if (!context_.maps()) return;
  kernels::AttentionInputs in = block.inputs;
  in.num_queries = count_;
  in.query_start = first_row_;
  in.num_keys = first_row_ + count_;
  in.q_ihd = block.q_ihd.data();
  in.q_stride = q_size(spec);
  context_.write_dense(index, in, rows.lse, rows.row_stride);
}

void DecodeProbe::flush() {
  if (count_ == 0) return;
  const formats::ModelSpec& spec = context_.engine.spec();
  for (std::size_t index = 0; index < blocks_.size(); ++index)
    write_layer(context_.plan.layers[index], static_cast<int>(index));
  for (int level = 0; level <= spec.num_layers; ++level)
    context_.write_hidden(level, first_row_, count_, facts_[static_cast<std::size_t>(level)],
                          states_.empty() ? nullptr : states_.data() + level * kBlockRows * spec.hidden_size);
  first_row_ += count_;
  count_ = 0;
}

}  // namespace headlight::engine
