#include "core/engine/edits.h"

#include <algorithm>

#include "core/engine/session_impl.h"
#include "core/intervention/method.h"

namespace headlight::engine {

using intervention::LayerProgram;
using kernels::KeyRun;

intervention::ModelShape shape_of(const formats::ModelSpec& spec) {
  return {spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim, static_cast<int>(spec.hidden_size)};
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

const kernels::RowProgram* Edits::rows(int number) const {
  if (program_.empty()) return nullptr;
  const auto& rows_h = rows_lh_[static_cast<std::size_t>(number)];
  return rows_h.empty() ? nullptr : rows_h.data();
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

void Edits::find_sinks(ThreadPool& pool, kernels::AttentionWorkspace& workspace, int number,
                       kernels::AttentionInputs in, float* out_ihd, std::int64_t out_stride) {
  if (program_.empty() || layer(number).sinks.empty()) return;
  const RowLayout layout{in.num_heads, in.num_queries, 0};
  Buffer<float> row_values(static_cast<std::size_t>(layout.size()));
  ColumnArrays columns({in.num_heads, in.num_keys, 0});
  columns.clear(pool);
  kernels::AttentionStatistics statistics = layout.statistics(row_values.data(), 0);
  columns.attach(statistics);
  const kernels::AttentionStatisticsPlan plan;
  in.program_h = rows(number);  // steps on sinks have no keys yet and do nothing
  kernels::attention(pool, workspace, in, out_ihd, out_stride, &plan, &statistics);

  std::vector<std::int64_t> rows_j(static_cast<std::size_t>(in.num_keys), 0);
  for (std::int64_t i = 0; i < in.num_queries; ++i) {
    const kernels::KeyRange keys = in.mask.visible(in.query_start + i, in.num_keys);
    for (std::int64_t j = keys.begin; j < keys.end; ++j) ++rows_j[static_cast<std::size_t>(j)];
  }
  for (const intervention::SinkDetection& detection : layer(number).sinks) {
    const float* received_j = statistics.received_hj + detection.target.head * in.num_keys;
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
