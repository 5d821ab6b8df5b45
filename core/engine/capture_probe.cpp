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

std::vector<AttentionWish> wishes_of(RecordContext& context) {
  std::vector<AttentionWish> out;
  for (std::size_t index = 0; index < context.plan.layers.size(); ++index)
    out.push_back(context.wish_for(static_cast<int>(index)));
  return out;
}

const AttentionWish* wish_of(const RecordContext& context, const std::vector<AttentionWish>& wishes, int layer) {
  const int index = context.recorded_index(layer);
  return index < 0 ? nullptr : &wishes[static_cast<std::size_t>(index)];
}

}  // namespace

PromptProbe::PromptProbe(RecordContext& context) : context_(context), wishes_(wishes_of(context)) {
  const bool topk = context.plan.topk > 0 && context.plan.topk_rows > 0;
  for (AttentionWish& wish : wishes_) {
    wish.columns_later = false;
    if (!topk) continue;
    wish.topk = context.plan.topk;
    wish.topk_positions = capture::topk_row_positions(context.plan, context.record.num_prompt_tokens);
  }
}

const AttentionWish* PromptProbe::wish(int layer) {
  return wish_of(context_, wishes_, layer);
}

void PromptProbe::hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) {
  context_.write_hidden(rows, massive);
}

void PromptProbe::attended(int layer, const AttentionFacts& facts) {
  capture::LayerRows rows = facts.rows;
  rows.index = context_.recorded_index(layer);
  if (!context_.plan.store_values) rows.v_igd = nullptr;
  {
    const PhaseClock::Scope timed(context_.clock.sink);
    context_.sink.write_rows(rows);
    if (context_.record.rows_changed)
      context_.sink.write_row_plan(rows.index,
                                   capture::RowPlan(context_.program_of(rows.index), context_.engine.spec().num_heads));
    if (!facts.topk.empty()) context_.sink.write_topk(facts.topk);
  }
  context_.write_base(rows, facts.base);
  const std::int64_t num_keys = rows.row_begin + rows.num_rows;
  if (context_.maps()) context_.write_dense(rows, num_keys);
  context_.write_columns(rows.index, num_keys);
  if (context_.columns_are_shared()) context_.clear_columns(rows.index);
}

void PromptProbe::layer_done(int /*layer*/) {
  ++layers_done_;
  const PhaseClock::Scope timed(context_.clock.sink);
  context_.sink.flush();
}

DecodeProbe::LayerBlock::LayerBlock(const formats::ModelSpec& spec, int num_groups, bool operands, bool with_base)
    : layout{spec.num_heads, kBlockRows, num_groups},
      rows(static_cast<std::size_t>(layout.size())),
      base(with_base ? static_cast<std::size_t>(layout.size()) : 0),
      key_norm_gi(elements(spec.num_kv_heads, kBlockRows)),
      value_norm_gi(elements(spec.num_kv_heads, kBlockRows)),
      u_norm_hi(elements(spec.num_heads, kBlockRows)),
      q_ihd(operands ? elements(kBlockRows, q_size(spec)) : 0),
      k_igd(operands ? elements(kBlockRows, kv_size(spec)) : 0),
      v_igd(operands ? elements(kBlockRows, kv_size(spec)) : 0) {}

DecodeProbe::DecodeProbe(RecordContext& context)
    : context_(context), wishes_(wishes_of(context)), first_row_(context.record.num_prompt_tokens) {
  const formats::ModelSpec& spec = context.engine.spec();
  for (std::size_t index = 0; index < context.plan.layers.size(); ++index)
    blocks_.emplace_back(spec, context.num_groups, context.replay(), context.record.has_base);
  levels_.resize(static_cast<std::size_t>(spec.num_layers + 1));
  if (context.plan.hidden_states)
    for (LevelBlock& level : levels_) level.states.resize(elements(kBlockRows, spec.hidden_size));
}

std::int64_t DecodeProbe::bytes(const formats::ModelSpec& spec, const capture::CapturePlan& plan, int num_groups) {
  const bool operands = plan.level != capture::CaptureLevel::summary;
  const std::int64_t row_elements =
      (operands ? q_size(spec) + 2 * kv_size(spec) : 0) + spec.num_heads + 2 * spec.num_kv_heads;
  const std::int64_t layers = static_cast<std::int64_t>(plan.layers.size());
  const std::int64_t states = plan.hidden_states ? (spec.num_layers + 1) * kBlockRows * spec.hidden_size : 0;
  const std::int64_t statistics = RowLayout{spec.num_heads, kBlockRows, num_groups}.size();
  return (layers * (statistics + kBlockRows * row_elements) + states) * std::int64_t{sizeof(float)};
}

const AttentionWish* DecodeProbe::wish(int layer) {
  return wish_of(context_, wishes_, layer);
}

void DecodeProbe::hidden(const capture::HiddenRows& rows, std::span<const capture::MassiveActivation> massive) {
  LevelBlock& block = levels_[static_cast<std::size_t>(rows.level)];
  const auto slot = static_cast<std::size_t>(count_);
  block.facts.norm_l2[slot] = *rows.norm_l2;
  block.facts.absmax[slot] = *rows.absmax;
  block.facts.mean[slot] = *rows.mean;
  block.facts.rms[slot] = *rows.rms;
  block.facts.cos_first[slot] = *rows.cos_first;
  block.facts.absmax_dim[slot] = *rows.absmax_dim;
  const std::int64_t d = context_.engine.spec().hidden_size;
  if (rows.x_id != nullptr) std::copy_n(rows.x_id, d, block.states.data() + count_ * d);
  massive_.insert(massive_.end(), massive.begin(), massive.end());
}

void DecodeProbe::attended(int layer, const AttentionFacts& facts) {
  LayerBlock& block = blocks_[static_cast<std::size_t>(context_.recorded_index(layer))];
  const formats::ModelSpec& spec = context_.engine.spec();
  const capture::LayerRows& rows = facts.rows;
  block.layout.put(block.rows.data(), count_, rows);
  if (block.base.size() > 0) block.layout.put(block.base.data(), count_, facts.base != nullptr ? *facts.base : rows);
  const auto put = [&](Buffer<float>& to, const float* from, int heads) {
    for (std::int64_t h = 0; h < heads; ++h) to.data()[h * kBlockRows + count_] = from[h * rows.row_stride];
  };
  put(block.key_norm_gi, rows.key_norm_gi, spec.num_kv_heads);
  put(block.value_norm_gi, rows.value_norm_gi, spec.num_kv_heads);
  put(block.u_norm_hi, rows.u_norm_hi, spec.num_heads);
  if (rows.q_ihd == nullptr) return;
  std::copy_n(rows.q_ihd, q_size(spec), block.q_ihd.data() + count_ * q_size(spec));
  std::copy_n(rows.k_igd, kv_size(spec), block.k_igd.data() + count_ * kv_size(spec));
  std::copy_n(rows.v_igd, kv_size(spec), block.v_igd.data() + count_ * kv_size(spec));
}

void DecodeProbe::write_layer(int index) {
  const LayerBlock& block = blocks_[static_cast<std::size_t>(index)];
  const formats::ModelSpec& spec = context_.engine.spec();
  capture::LayerRows rows;
  rows.index = index;
  rows.row_begin = first_row_;
  rows.num_rows = count_;
  block.layout.describe(block.rows.data(), rows);
  rows.key_norm_gi = block.key_norm_gi.data();
  rows.value_norm_gi = block.value_norm_gi.data();
  rows.u_norm_hi = block.u_norm_hi.data();
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
  if (block.base.size() > 0) {
    capture::LayerRows base;
    block.layout.describe(block.base.data(), base);
    context_.write_base(rows, &base);
  }
  if (context_.maps()) context_.write_dense(rows, first_row_ + count_);
}

void DecodeProbe::write_level(int level) {
  const LevelBlock& block = levels_[static_cast<std::size_t>(level)];
  capture::HiddenRows rows = block.facts.rows();
  rows.level = level;
  rows.row_begin = first_row_;
  rows.num_rows = count_;
  rows.x_id = block.states.empty() ? nullptr : block.states.data();
  context_.write_hidden(rows, {});
}

void DecodeProbe::flush() {
  if (count_ == 0) return;
  for (std::size_t index = 0; index < blocks_.size(); ++index) write_layer(static_cast<int>(index));
  for (std::size_t level = 0; level < levels_.size(); ++level) write_level(static_cast<int>(level));
  if (!massive_.empty()) {
    const PhaseClock::Scope timed(context_.clock.sink);
    context_.sink.write_massive(massive_);
    massive_.clear();
  }
  first_row_ += count_;
  count_ = 0;
}

}  // namespace headlight::engine
