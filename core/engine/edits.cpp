#include "core/engine/edits.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/engine/session_impl.h"
#include "core/intervention/method.h"

namespace headlight::engine {

using intervention::LayerProgram;
using kernels::KeyRun;

intervention::ModelShape shape_of(const formats::ModelSpec& spec) {
  const bool experts = spec.moe.num_experts > 0;
  return {spec.num_layers,
          spec.num_heads,
          spec.num_kv_heads,
          spec.head_dim,
          static_cast<int>(spec.hidden_size),
          experts ? 0 : static_cast<int>(spec.intermediate_size)};
}

Edits::Edits(const formats::ModelSpec& spec, std::span<const intervention::Intervention> stack)
    : shape_(shape_of(spec)), stack_(stack.begin(), stack.end()) {}

void Edits::begin(std::int64_t num_prompt_tokens) {
  num_prompt_tokens_ = num_prompt_tokens;
  program_ = intervention::compile(stack_, shape_, {.num_tokens = num_prompt_tokens});
  found_.clear();
  rows_lh_.assign(program_.layers.size(), {});
  for (std::size_t l = 0; l < program_.layers.size(); ++l)
    for (const auto& steps : program_.layers[l].steps_h)
      rows_lh_[l].push_back({steps.data(), static_cast<std::int64_t>(steps.size())});
}

void Edits::set_runs(int number, std::span<const intervention::StepRef> steps, std::vector<KeyRun> runs) {
  found_.push_back(std::make_unique<const std::vector<KeyRun>>(std::move(runs)));
  for (const intervention::StepRef& ref : steps) {
    kernels::RowStep& step = layer(number).steps_h[static_cast<std::size_t>(ref.head)][ref.step];
    step.runs = found_.back()->data();
    step.num_runs = static_cast<std::int64_t>(found_.back()->size());
  }
}

bool Edits::changes_rows() const {
  return std::any_of(rows_lh_.begin(), rows_lh_.end(), [](const auto& rows_h) { return !rows_h.empty(); });
}

int Edits::first_layer() const {
  if (program_.empty()) return shape_.num_layers;
  if (!program_.embeddings.empty()) return 0;
  const auto first = std::find_if(program_.layers.begin(), program_.layers.end(), [](const LayerProgram& program) {
    return !program.empty() || !program.gazes.empty();
  });
  return static_cast<int>(first - program_.layers.begin());
}

const kernels::RowProgram* Edits::rows(int number) const {
  if (program_.empty()) return nullptr;
  const auto& rows_h = rows_lh_[static_cast<std::size_t>(number)];
  return rows_h.empty() ? nullptr : rows_h.data();
}

void Edits::embedded(float* x_id) const {
  const std::int64_t d = shape_.hidden_size;
  for (const intervention::EmbeddingStep& step : program_.embeddings) {
    std::vector<double> mean(static_cast<std::size_t>(d), 0.0);
    std::int64_t count = 0;
    for (const kernels::KeyRange& span : step.keys) count += span.size();
    for (const kernels::KeyRange& span : step.keys)
      for (std::int64_t j = span.begin; j < span.end; ++j)
        for (std::int64_t e = 0; e < d; ++e)
          mean[static_cast<std::size_t>(e)] += static_cast<double>(x_id[j * d + e]) / static_cast<double>(count);
    for (const kernels::KeyRange& span : step.keys)
      for (std::int64_t j = span.begin; j < span.end; ++j)
        for (std::int64_t e = 0; e < d; ++e)
          x_id[j * d + e] =
              (1.0f - step.mix) * x_id[j * d + e] + step.mix * static_cast<float>(mean[static_cast<std::size_t>(e)]);
  }
}

namespace {

/// Calls body(row) for the rows [start, start + n) that a step acts on.
template <class Body>
void for_rows(kernels::KeyRange rows, std::int64_t start, std::int64_t n, const Body& body) {
  for (std::int64_t row = std::max(start, rows.begin); row < std::min(start + n, rows.end); ++row) body(row - start);
}

}  // namespace

void Edits::residual(int number, std::int64_t start, std::int64_t n, float* x_id) const {
  if (program_.empty()) return;
  const std::int64_t d = shape_.hidden_size;
  for (const intervention::ResidualStep& step : layer(number).residuals)
    for_rows(step.rows, start, n, [&](std::int64_t row) {
      for (std::int64_t e = 0; e < d; ++e) x_id[row * d + e] += step.gain * step.vector[e];
    });
}

void Edits::block_output(int number, intervention::BlockStep::Block block, std::int64_t start, std::int64_t n,
                         float* y_id) const {
  if (program_.empty()) return;
  const std::int64_t d = shape_.hidden_size;
  for (const intervention::BlockStep& step : layer(number).blocks)
    if (step.block == block)
      for_rows(step.rows, start, n, [&](std::int64_t row) {
        for (std::int64_t e = 0; e < d; ++e) y_id[row * d + e] *= step.scale;
      });
}

bool Edits::changes_units(int number) const {
  return !program_.empty() && !layer(number).neurons.empty();
}

void Edits::hidden_units(int number, std::int64_t start, std::int64_t n, float* h_if, std::int64_t width) const {
  for (const intervention::NeuronStep& step : layer(number).neurons)
    for_rows(step.rows, start, n, [&](std::int64_t row) {
      for (const int neuron : step.neurons) h_if[row * width + neuron] *= step.scale;
    });
}

void Edits::entering(ThreadPool& pool, int number, const float* x_id) {
  if (program_.empty()) return;
  const std::int64_t d = shape_.hidden_size, n = num_prompt_tokens_;
  for (const intervention::MassiveDetection& detection : layer(number).massive) {
    std::vector<double> ratio_j(static_cast<std::size_t>(n));
    pool.parallel_for(n, [&](std::int64_t j, int) {
      ratio_j[static_cast<std::size_t>(j)] =
          intervention::massive_ratio({x_id + j * d, static_cast<std::size_t>(d)}, detection.dims);
    });
    set_runs(number, detection.targets, intervention::massive_groups(detection, ratio_j));
  }
}

void Edits::find_keys(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int number, kernels::AttentionInputs in,
                      float* out_ihd, std::int64_t out_stride) {
  if (program_.empty()) return;
  in.num_queries = std::min(in.num_queries, num_prompt_tokens_);
  in.num_keys = std::min(in.num_keys, num_prompt_tokens_);
  in.program_h = rows(number);  // steps on sinks have no keys yet and do nothing
  if (!layer(number).sinks.empty()) find_sinks(pool, workspace, number, in, out_ihd, out_stride);
  if (!layer(number).gazes.empty()) find_gaze(pool, workspace, number, in, out_ihd, out_stride);
}

namespace {

/// Keeps the rows of attention of some positions, all heads: rows_hr[h][r] over all keys.
class KeptRows final : public kernels::RowTap {
 public:
  KeptRows(int num_heads, std::vector<std::int64_t> positions)
      : positions_(std::move(positions)), rows_(static_cast<std::size_t>(num_heads) * positions_.size()) {}

  bool wants(int, std::int64_t position) const override {
    return std::binary_search(positions_.begin(), positions_.end(), position);
  }
  void row(int head, std::int64_t position, kernels::KeyRange keys, std::span<const float> attn_j) override {
    std::vector<float>& row = rows_[slot(head, position)];
    row.assign(static_cast<std::size_t>(keys.begin), 0.0f);
    row.insert(row.end(), attn_j.begin(), attn_j.end());
  }
  /// Weight of a key; 0 where it is not visible.
  double at(int head, std::int64_t position, std::int64_t key) const {
    const std::vector<float>& row = rows_[slot(head, position)];
    return key < static_cast<std::int64_t>(row.size()) ? static_cast<double>(row[static_cast<std::size_t>(key)]) : 0.0;
  }

 private:
  std::size_t slot(int head, std::int64_t position) const {
    const auto at = std::lower_bound(positions_.begin(), positions_.end(), position);
    return static_cast<std::size_t>(head) * positions_.size() + static_cast<std::size_t>(at - positions_.begin());
  }
  std::vector<std::int64_t> positions_;  // ascending
  std::vector<std::vector<float>> rows_;
};

/// Tokens of the questions and the one before each, ascending.
std::vector<std::int64_t> positions_of(std::span<const intervention::GazeDetection> detections) {
  std::set<std::int64_t> positions;
  for (const intervention::GazeDetection& detection : detections)
    for (const kernels::KeyRange& span : detection.question)
      for (std::int64_t t = span.begin - 1; t < span.end; ++t) positions.insert(t);
  return {positions.begin(), positions.end()};
}

/// Attention of a prompt, run for what it shows before steps act on it.
class LookingPass {
 public:
  LookingPass(ThreadPool& pool, const kernels::AttentionInputs& in)
      : layout_{in.num_heads, in.num_queries, 0},
        row_values_(static_cast<std::size_t>(layout_.size())),
        columns_({in.num_heads, in.num_keys, 0}) {
    columns_.clear(pool);
    statistics_ = layout_.statistics(row_values_.data(), 0);
    columns_.attach(statistics_);
  }

  /// @param tap  rows that are looked at; null = none
  void run(ThreadPool& pool, kernels::AttentionWorkspace& workspace, const kernels::AttentionInputs& in, float* out_ihd,
           std::int64_t out_stride, kernels::RowTap* tap) {
    kernels::AttentionStatisticsPlan plan;
    plan.tap = tap;
    kernels::attention(pool, workspace, in, out_ihd, out_stride, &plan, &statistics_);
  }
  const float* received_hj() const { return statistics_.received_hj; }

 private:
  RowLayout layout_;
  Buffer<float> row_values_;
  ColumnArrays columns_;
  kernels::AttentionStatistics statistics_;
};

/// How much more each token of the question looks at each image token than the token before it: [h][t][j].
std::vector<std::vector<std::vector<double>>> gaze_shift(const intervention::GazeDetection& detection,
                                                         const KeptRows& kept, int num_heads) {
  std::vector<std::vector<std::vector<double>>> shift_htj(static_cast<std::size_t>(num_heads));
  for (int h = 0; h < num_heads; ++h)
    for (const kernels::KeyRange& span : detection.question)
      for (std::int64_t t = span.begin; t < span.end; ++t) {
        auto& shift_j = shift_htj[static_cast<std::size_t>(h)].emplace_back();
        for (const kernels::KeyRange& image : detection.image)
          for (std::int64_t j = image.begin; j < image.end; ++j)
            shift_j.push_back(std::max(0.0, kept.at(h, t, j) - kept.at(h, t - 1, j)));
      }
  return shift_htj;
}

}  // namespace

void Edits::find_gaze(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int number,
                      const kernels::AttentionInputs& in, float* out_ihd, std::int64_t out_stride) {
  KeptRows kept(in.num_heads, positions_of(layer(number).gazes));
  LookingPass(pool, in).run(pool, workspace, in, out_ihd, out_stride, &kept);
  for (const intervention::GazeDetection& detection : layer(number).gazes) {
    const std::vector<double> saliency = intervention::gaze_saliency(gaze_shift(detection, kept, in.num_heads));
    const std::vector<KeyRun> runs = intervention::gaze_runs(detection, saliency);
    for (const intervention::LaterStep& later : detection.targets) set_runs(later.layer, {&later.step, 1}, runs);
  }
}

void Edits::find_sinks(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int number,
                       const kernels::AttentionInputs& in, float* out_ihd, std::int64_t out_stride) {
  LookingPass pass(pool, in);
  pass.run(pool, workspace, in, out_ihd, out_stride, nullptr);
  std::vector<std::int64_t> rows_j(static_cast<std::size_t>(in.num_keys), 0);
  for (std::int64_t i = 0; i < in.num_queries; ++i) {
    const kernels::KeyRange keys = in.mask.visible(in.query_start + i, in.num_keys);
    for (std::int64_t j = keys.begin; j < keys.end; ++j) ++rows_j[static_cast<std::size_t>(j)];
  }
  for (const intervention::SinkDetection& detection : layer(number).sinks) {
    const float* received_j = pass.received_hj() + detection.target.head * in.num_keys;
    const auto sinks =
        intervention::detect_sinks(detection, {received_j, static_cast<std::size_t>(in.num_keys)}, rows_j);
    set_runs(number, {&detection.target, 1}, intervention::sink_groups(detection, sinks));
  }
}

void Edits::head_outputs(ThreadPool& pool, int number, std::int64_t start, std::int64_t n, float* out_ihd,
                         std::int64_t stride) const {
  if (program_.empty()) return;
  const std::int64_t d = shape_.head_dim;
  for (const intervention::HeadOutputStep& step : program_.layers[static_cast<std::size_t>(number)].outputs) {
    const std::int64_t begin = std::max(start, step.rows.begin);
    std::int64_t end = std::min(start + n, step.rows.end);
    if (step.vector_rows > 0) end = std::min(end, step.vector_rows);
    pool.parallel_for(std::max<std::int64_t>(0, end - begin), [&](std::int64_t r, int) {
      const std::int64_t row = begin + r;
      float* const out = out_ihd + (row - start) * stride + step.head * d;
      const float* const vector = step.vector == nullptr ? nullptr : step.vector + (step.vector_rows > 0 ? row * d : 0);
      for (std::int64_t e = 0; e < d; ++e) out[e] = step.keep * out[e] + (vector ? step.gain * vector[e] : 0.0f);
    });
  }
}

namespace {

/// The engine's own attention, whose output is looked at.
class OutputReader final : public AttentionHook {
 public:
  explicit OutputReader(std::vector<intervention::HeadValues>& values) : values_(values) {}

  void attention(int layer, ThreadPool& pool, kernels::AttentionWorkspace& workspace,
                 const AttentionCall& call) override {
    kernels::attention(pool, workspace, call.in, call.out_ihd, call.out_stride, nullptr, nullptr);
    const std::int64_t d = call.in.head_dim;
    for (intervention::HeadValues& entry : values_) {
      if (entry.head.layer != layer) continue;
      for (std::int64_t i = 0; i < call.in.num_queries; ++i) {
        const float* out = call.out_ihd + i * call.out_stride + entry.head.head * d;
        entry.values.insert(entry.values.end(), out, out + d);
      }
    }
  }

 private:
  std::vector<intervention::HeadValues>& values_;
};

std::vector<intervention::HeadValues> head_outputs_of(const Engine::Impl& engine, std::span<const std::int32_t> ids,
                                                      std::span<const intervention::HeadId> heads) {
  std::vector<intervention::HeadValues> values;
  for (const intervention::HeadId head : heads) values.push_back({head, {}});
  Session::Impl run(engine, {.rows_follow = false});
  OutputReader reader(values);
  run.advance({.ids = ids, .hook = &reader});
  return values;
}

}  // namespace

void run_sources(const Engine::Impl& engine, intervention::Stack& stack) {
  const intervention::ModelShape shape = shape_of(engine.spec());
  for (intervention::Intervention& entry : stack) {
    if (!entry.enabled || entry.inputs.source_ids.empty()) continue;
    const intervention::PromptFacts none;
    const intervention::Resolved resolved(entry, shape, none);
    if (!resolved.method().needs_source)
      resolved.refuse("inputs.source_ids", "the method takes nothing from a sequence");
    entry.inputs.head_values = head_outputs_of(engine, entry.inputs.source_ids, resolved.heads());
  }
}

}  // namespace headlight::engine
