#include "plugins/plugin_adapter.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/replay.h"
#include "kernels/row_program.h"

namespace headlight::plugins {
namespace {

using kernels::KeyRun;
using kernels::RowOp;

[[noreturn]] void refuse_descriptor(const std::string& sentence) {
  throw Error(Errc::bad_format, sentence);
}

const char* required(const char* text, const char* what) {
  if (text == nullptr || *text == '\0') refuse_descriptor(fmt::format("describes something without {}", what));
  return text;
}

const char* or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

/// What went wrong inside a callback, kept until the plugin has returned.
struct Outcome {
  std::string failure;

  int fail(const std::string& sentence) {
    if (failure.empty()) failure = sentence;
    return 1;
  }
  /// Runs a callback of ours; nothing is thrown through the plugin.
  template <class Work>
  int guarded(const Work& work) {
    try {
      work();
      return 0;
    } catch (const std::exception& error) {
      return fail(error.what());
    }
  }
};

// ---- interventions

struct Changes : Outcome {
  const intervention::Resolved& in;
  intervention::Builder& builder;
  Changes(const intervention::Resolved& resolved, intervention::Builder& to) : in(resolved), builder(to) {}
};

void check_head(const intervention::ModelShape& shape, headlight_head head) {
  if (head.layer < 0 || head.layer >= shape.num_layers || head.head < 0 || head.head >= shape.num_heads)
    refuse_descriptor(fmt::format("the plugin names head L{}H{}, which does not exist", head.layer, head.head));
}

/// Ascending and disjoint; groups 0 to 3 where the step has groups.
std::vector<KeyRun> checked_runs(RowOp op, const headlight_run* runs, std::int64_t count) {
  std::vector<KeyRun> out;
  for (std::int64_t n = 0; n < count; ++n) {
    const bool masks = op == RowOp::bias && runs[n].value == -INFINITY;
    if (runs[n].begin < 0 || runs[n].end <= runs[n].begin || (n > 0 && runs[n].begin < runs[n - 1].end) ||
        (!std::isfinite(runs[n].value) && !masks))
      refuse_descriptor(fmt::format("the plugin's run {} is not ascending, or not a number", n));
    const float value = runs[n].value;
    if (kernels::has_groups(op) && value != 0.0f && value != 1.0f && value != 2.0f && value != 3.0f)
      refuse_descriptor(fmt::format("the plugin's run {} has group {}, expected 0 to 3", n, value));
    out.push_back({runs[n].begin, runs[n].end, value});
  }
  return out;
}

int add_step(void* self, headlight_head head, const char* op, const headlight_run* runs, std::int64_t num_runs,
             const float* constants, std::uint64_t seed) {
  auto& changes = *static_cast<Changes*>(self);
  return changes.guarded([&] {
    check_head(changes.in.shape(), head);
    const auto known = op != nullptr ? kernels::row_op_of(op) : std::nullopt;
    if (!known) refuse_descriptor(fmt::format("the plugin uses an unknown step '{}'", or_empty(op)));
    kernels::RowStep step = changes.in.step(*known);
    step.seed = seed;
    for (int n = 0; n < 4 && constants != nullptr; ++n) {
      if (!std::isfinite(constants[n])) refuse_descriptor("a constant of the plugin is not a number");
      step.constants[n] = constants[n];
    }
    changes.builder.add({head.layer, head.head}, step, checked_runs(*known, runs, num_runs));
  });
}

int add_output(void* self, headlight_head head, float keep, float gain, const float* vector) {
  auto& changes = *static_cast<Changes*>(self);
  return changes.guarded([&] {
    check_head(changes.in.shape(), head);
    intervention::HeadOutputStep step;
    step.head = head.head;
    step.rows = changes.in.rows();
    step.keep = keep;
    step.gain = gain;
    if (vector != nullptr)
      step.vector = changes.builder.keep(std::vector<float>(vector, vector + changes.in.shape().head_dim));
    changes.builder.add({head.layer, head.head}, step);
  });
}

double number_of_head(void* self, const char* name, headlight_head head) {
  auto& changes = *static_cast<Changes*>(self);
  double value = NAN;
  changes.guarded([&] {
    const auto& parameters = changes.in.method().parameters;
    const auto known =
        std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == or_empty(name); });
    if (known == parameters.end())
      refuse_descriptor(fmt::format("the plugin asks for an unknown parameter '{}'", or_empty(name)));
    value = changes.in.number(known->name, {head.layer, head.head});
  });
  return value;
}

template <class State>
void keep_failure(void* self, const char* sentence) {
  static_cast<State*>(self)->fail(or_empty(sentence));
}

void compile_with(const headlight_intervention& from, const intervention::Resolved& in,
                  intervention::Builder& builder) {
  Changes state(in, builder);
  std::vector<headlight_head> heads;
  for (const intervention::HeadId head : in.heads()) heads.push_back({head.layer, head.head});
  std::vector<headlight_range> spans;
  if (!in.source().inputs.spans.empty())
    for (const kernels::KeyRange& span : in.spans()) spans.push_back({span.begin, span.end});
  const intervention::ModelShape& shape = in.shape();
  const headlight_changes changes{&state,          shape.num_layers,
                                  shape.num_heads, shape.num_kv_heads,
                                  shape.head_dim,  in.prompt().num_tokens,
                                  heads.data(),    static_cast<std::int64_t>(heads.size()),
                                  spans.data(),    static_cast<std::int64_t>(spans.size()),
                                  number_of_head,  add_step,
                                  add_output,      keep_failure<Changes>};
  if (from.compile(&changes) != 0 || !state.failure.empty())
    in.refuse("method", state.failure.empty() ? "the plugin failed without a word" : state.failure);
}

// ---- analyses

struct Record : Outcome {
  const analysis::AnalysisInput& input;
  const Json& params;
  std::stop_token stop;
  analysis::AnalysisReport report;
  Record(const analysis::AnalysisInput& from, const Json& numbers, std::stop_token token)
      : input(from), params(numbers), stop(std::move(token)) {}
};

double number_of_record(void* self, const char* name) {
  auto& record = *static_cast<Record*>(self);
  double value = NAN;
  record.guarded([&] { value = json_number(record.params, or_empty(name)); });
  return value;
}

int read_statistic(void* self, const char* id, std::int32_t layer, float* values) {
  auto& record = *static_cast<Record*>(self);
  return record.guarded([&] {
    const Buffer<float> stored = record.input.capture.statistic(record.input.record, or_empty(id), layer);
    std::copy(stored.begin(), stored.end(), values);
  });
}

int read_attention(void* self, std::int32_t layer, std::int32_t head, std::int64_t begin, std::int64_t end,
                   float* values) {
  auto& record = *static_cast<Record*>(self);
  return record.guarded([&] {
    const std::int64_t keys = record.input.capture.record(record.input.record).num_rows;
    if (begin < 0 || begin > end || end > keys) refuse_descriptor("the plugin asks for rows outside the capture");
    capture::replay_tile(record.input.capture, {record.input.record, layer, head}, {begin, end, 0, keys},
                         record.input.pool, {values, static_cast<std::size_t>((end - begin) * keys)}, record.stop);
  });
}

int add_series(void* self, const char* id, const char* unit, const char* formula, const char* axes,
               const std::int64_t* shape, std::int32_t num_axes, const double* values, double low, double high) {
  auto& record = *static_cast<Record*>(self);
  return record.guarded([&] {
    analysis::Series series;
    series.id = required(id, "an id");
    series.unit = or_empty(unit);
    series.formula = or_empty(formula);
    const std::string names = or_empty(axes);
    for (std::size_t at = 0, end; at < names.size(); at = end + 1) {
      end = std::min(names.find(',', at), names.size());
      series.axes.push_back(names.substr(at, end - at));
    }
    if (num_axes < 0 || series.axes.size() != static_cast<std::size_t>(num_axes))
      refuse_descriptor(fmt::format("series '{}' of the plugin has other axes than sizes", series.id));
    std::int64_t count = 1;
    for (std::int32_t a = 0; a < num_axes; ++a) {
      if (shape[a] < 0 || shape[a] > (std::int64_t{1} << 28) / std::max<std::int64_t>(1, count))
        refuse_descriptor(fmt::format("series '{}' of the plugin has an impossible size", series.id));
      count *= shape[a];
      series.shape.push_back(shape[a]);
    }
    series.values.assign(values, values + count);
    series.low = low;
    series.high = high;
    record.report.series.push_back(std::move(series));
  });
}

void add_note(void* self, const char* sentence) {
  static_cast<Record*>(self)->report.notes.emplace_back(or_empty(sentence));
}

analysis::AnalysisReport run_with(const headlight_analysis& from, const analysis::AnalysisInput& input,
                                  const Json& params, std::stop_token stop) {
  Record state(input, params, std::move(stop));
  const capture::CaptureHeader& header = input.capture.header();
  const capture::RecordInfo info = input.capture.record(input.record);
  const headlight_record record{&state,
                                header.plan.layers.data(),
                                static_cast<std::int32_t>(header.plan.layers.size()),
                                header.model.num_heads,
                                header.model.num_kv_heads,
                                header.model.head_dim,
                                info.num_rows,
                                info.header.num_prompt_tokens,
                                number_of_record,
                                read_statistic,
                                read_attention,
                                add_series,
                                add_note,
                                keep_failure<Record>};
  if (from.run(&record) != 0 || !state.failure.empty())
    throw Error(Errc::failed, fmt::format("analysis '{}': {}", from.id,
                                          state.failure.empty() ? "the plugin failed without a word" : state.failure));
  return std::move(state.report);
}

}  // namespace

intervention::Method method_of(const headlight_intervention& from) {
  intervention::Method out;
  out.id = required(from.id, "an id");
  out.title = required(from.title, "a title");
  out.formula = required(from.formula, "a formula");
  out.source = or_empty(from.source);
  out.hook = "plugin";
  if (from.compile == nullptr) refuse_descriptor(fmt::format("'{}' has no function", out.id));
  bool has_identity = false;
  for (std::int32_t n = 0; n < from.num_parameters; ++n) {
    const headlight_parameter& p = from.parameters[n];
    has_identity |= !std::isnan(p.identity);
    out.parameters.push_back(intervention::number_parameter(required(p.name, "a name"), p.fallback, p.low, p.high,
                                                            std::isnan(p.identity) ? Json() : Json(p.identity),
                                                            or_empty(p.doc)));
  }
  if (!has_identity) refuse_descriptor(fmt::format("'{}' has no setting that changes nothing", out.id));
  out.compile = [&from](const intervention::Resolved& in, intervention::Builder& builder) {
    compile_with(from, in, builder);
  };
  return out;
}

analysis::Analysis analysis_of(const headlight_analysis& from) {
  analysis::Analysis out;
  out.id = required(from.id, "an id");
  out.title = required(from.title, "a title");
  out.summary = required(from.summary, "a summary");
  out.source = or_empty(from.source);
  if (from.run == nullptr) refuse_descriptor(fmt::format("'{}' has no function", out.id));
  out.needs = {from.needs_replay != 0 ? analysis::Need::qkv : analysis::Need::row};
  for (std::int32_t n = 0; n < from.num_parameters; ++n) {
    const headlight_parameter& p = from.parameters[n];
    analysis::Parameter parameter;
    parameter.name = required(p.name, "a name");
    parameter.fallback = p.fallback;
    parameter.low = p.low;
    parameter.high = p.high;
    parameter.doc = or_empty(p.doc);
    out.parameters.push_back(std::move(parameter));
  }
  out.run = [&from](const analysis::AnalysisInput& input, const Json& params, std::stop_token stop) {
    return run_with(from, input, params, std::move(stop));
  };
  return out;
}

}  // namespace headlight::plugins
