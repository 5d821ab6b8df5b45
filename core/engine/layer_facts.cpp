#include "core/engine/layer_facts.h"

#include <algorithm>
#include <limits>

namespace headlight::engine {

LayerFacts::LayerFacts(const Engine::Impl& engine, const SequenceUse& use)
    : engine_(engine), rows_follow_(use.rows_follow), value_norms_(engine, use.rows_follow || use.sequences_follow) {}

void LayerFacts::hidden(const ForwardRequest& request, int level, const float* x_id) {
  const std::int64_t d = engine_.spec().hidden_size, n = static_cast<std::int64_t>(request.ids.size());
  const auto levels = static_cast<std::size_t>(engine_.spec().num_layers + 1);
  if (!facts_ || facts_->norm_l2.size() != static_cast<std::size_t>(n)) facts_.emplace(n);
  first_states_.resize(levels * static_cast<std::size_t>(d));
  medians_.resize(levels);
  float* first = first_states_.data() + level * d;
  float& median = medians_[static_cast<std::size_t>(level)];
  std::vector<capture::MassiveActivation> massive;
  {
    const PhaseClock::Scope timed(request.clock->hidden);
    if (request.start == 0) std::copy_n(x_id, d, first);
    hidden_facts(engine_.pool, x_id, n, d, first, *facts_, 0);
    const float* absmax = facts_->absmax.data();
    // The median is that of the prompt. It costs two passes, so it is taken only where an entry could be massive, or
    // where generated rows may still bring one.
    if (request.start == 0)
      median = rows_follow_ || *std::max_element(absmax, absmax + n) > kMassiveAbsolute
                   ? median_abs(engine_.pool, x_id, n * d)
                   : std::numeric_limits<float>::infinity();
    find_massive(x_id, n, d, request.start, level, median, absmax, massive);
  }
  capture::HiddenRows rows = facts_->rows();
  rows.level = level;
  rows.row_begin = request.start;
  rows.num_rows = n;
  rows.x_id = request.observer->wants_states() ? x_id : nullptr;
  request.observer->hidden(rows, massive);
}

void LayerFacts::attention(const ForwardRequest& request, int layer, const AttentionWish& wish,
                           kernels::AttentionWorkspace& workspace, const AttentionCall& call) {
  const kernels::AttentionInputs& in = call.in;
  capture::LayerRows base;
  if (wish.base_columns != nullptr) base = base_rows(wish, workspace, call);
  const RowLayout layout{in.num_heads, in.num_queries, wish.plan.num_groups};
  float* rows = ensure(rows_, layout.size());
  prepare_topk(wish);
  kernels::AttentionStatisticsPlan plan = wish.plan;
  if (topk_) plan.tap = &*topk_;
  kernels::AttentionStatistics statistics = layout.statistics(rows, 0);
  wish.columns->attach(statistics);
  kernels::attention(engine_.pool, workspace, in, call.out_ihd, call.out_stride, &plan, &statistics);

  AttentionFacts facts;
  if (wish.base_columns != nullptr) facts.base = &base;
  facts.rows.row_begin = in.query_start;
  facts.rows.num_rows = in.num_queries;
  layout.describe(rows, facts.rows);
  find_norms(*request.clock, layer, call, facts.rows);
  if (wish.operands) {
    facts.rows.q_ihd = in.q_ihd;
    facts.rows.q_stride = in.q_stride;
    facts.rows.k_igd = call.k_igd;
    facts.rows.v_igd = call.v_igd;
    facts.rows.kv_stride = call.kv_row_stride;
  }
  if (topk_) facts.topk = topk_->rows(layer);
  request.observer->attended(layer, facts);
}

// The same attention without interventions; its output is overwritten by the changed one.
capture::LayerRows LayerFacts::base_rows(const AttentionWish& wish, kernels::AttentionWorkspace& workspace,
                                         const AttentionCall& call) {
  kernels::AttentionInputs in = call.in;
  in.program_h = nullptr;
  const RowLayout layout{in.num_heads, in.num_queries, wish.plan.num_groups};
  float* values = ensure(base_rows_, layout.size());
  kernels::AttentionStatisticsPlan plan = wish.plan;
  plan.block_edge = 0;
  kernels::AttentionStatistics statistics = layout.statistics(values, 0);
  wish.base_columns->attach(statistics);
  kernels::attention(engine_.pool, workspace, in, call.out_ihd, call.out_stride, &plan, &statistics);
  capture::LayerRows rows;
  rows.row_begin = in.query_start;
  rows.num_rows = in.num_queries;
  layout.describe(values, rows);
  rows.base = true;
  return rows;
}

void LayerFacts::prepare_topk(const AttentionWish& wish) {
  if (wish.topk <= 0 || wish.topk_positions.empty())
    topk_.reset();
  else if (!topk_ || !topk_->collects(wish.topk_positions, wish.topk))
    topk_.emplace(wish.topk_positions, engine_.spec().num_heads, wish.topk);
}

void LayerFacts::find_norms(PhaseClock& clock, int layer, const AttentionCall& call, capture::LayerRows& rows) {
  const PhaseClock::Scope timed(clock.norms);
  const formats::ModelSpec& spec = engine_.spec();
  const std::int64_t n = rows.num_rows, stride = rows.row_stride;
  float* key_norm = ensure(key_norm_gi_, spec.num_kv_heads * stride);
  float* value_norm = ensure(value_norm_gi_, spec.num_kv_heads * stride);
  float* u_norm = ensure(u_norm_hi_, spec.num_heads * stride);
  head_norms(engine_.pool, call.k_igd, n, call.kv_row_stride, spec.num_kv_heads, spec.head_dim, key_norm, stride);
  head_norms(engine_.pool, call.v_igd, n, call.kv_row_stride, spec.num_kv_heads, spec.head_dim, value_norm, stride);
  value_norms_.compute(layer, call.v_igd, n, call.kv_row_stride, u_norm, stride);
  rows.key_norm_gi = key_norm;
  rows.value_norm_gi = value_norm;
  rows.u_norm_hi = u_norm;
}

}  // namespace headlight::engine
