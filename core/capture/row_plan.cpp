#include "core/capture/row_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::capture {
namespace {

using kernels::KeyRun;
using kernels::RowOp;
using kernels::RowStep;

constexpr std::int64_t kEndless = std::numeric_limits<std::int64_t>::max();
constexpr float kMasked = -std::numeric_limits<float>::infinity();

[[noreturn]] void refuse_plan(const std::string& path, const std::string& sentence) {
  throw Error(Errc::bad_format, sentence, {.file = {}, .field = path, .offset = {}, .hint = {}});
}

Json number_json(float value) {
  return std::isfinite(value) ? Json(static_cast<double>(value)) : Json("-inf");
}

float number_from(const Json& json, bool may_mask, const std::string& path) {
  if (may_mask && json.is_string() && json.get<std::string>() == "-inf") return kMasked;
  if (!json.is_number() || !std::isfinite(json.get<float>())) refuse_plan(path, "expected a number");
  return json.get<float>();
}

std::int64_t position_from(const Json& json, const std::string& path) {
  if (!json.is_number_integer() || json.get<std::int64_t>() < 0) refuse_plan(path, "expected a position");
  return json.get<std::int64_t>();
}

const Json& member(const Json& json, const char* key, const std::string& path) {
  if (!json.is_object() || !json.contains(key)) refuse_plan(path, fmt::format("'{}' is missing", key));
  return json[key];
}

const Json& list_of(const Json& json, const char* key, const std::string& path) {
  const Json& list = member(json, key, path);
  if (!list.is_array()) refuse_plan(path, fmt::format("expected a list '{}'", key));
  return list;
}

Json step_json(const RowStep& step) {
  Json json;
  json["op"] = kernels::to_string(step.op);
  json["rows"] = Json::array({step.rows.begin, step.rows.end == kEndless ? Json(nullptr) : Json(step.rows.end)});
  json["runs"] = Json::array();
  for (std::int64_t n = 0; n < step.num_runs; ++n)
    json["runs"].push_back(Json::array({step.runs[n].begin, step.runs[n].end, number_json(step.runs[n].value)}));
  json["constants"] = Json::array();
  for (const float constant : step.constants) json["constants"].push_back(number_json(constant));
  json["seed"] = step.seed;
  return json;
}

/// Ascending and disjoint; values are groups where the step has groups.
std::vector<KeyRun> runs_from(const Json& list, RowOp op, const std::string& path) {
  std::vector<KeyRun> runs;
  for (const Json& entry : list) {
    if (!entry.is_array() || entry.size() != 3) refuse_plan(path, "expected [begin, end, value]");
    const KeyRun run{position_from(entry[0], path), position_from(entry[1], path),
                     number_from(entry[2], op == RowOp::bias, path)};
    if (run.end <= run.begin || (!runs.empty() && run.begin < runs.back().end))
      refuse_plan(path, "expected ascending runs of keys");
    if (kernels::has_groups(op) && run.value != 0.0f && run.value != 1.0f && run.value != 2.0f && run.value != 3.0f)
      refuse_plan(path, fmt::format("expected a group 0 to 3, found {}", run.value));
    runs.push_back(run);
  }
  return runs;
}

RowStep step_from(const Json& json, std::vector<std::vector<KeyRun>>& storage, const std::string& path) {
  RowStep step;
  const Json& op = member(json, "op", path);
  const auto known = op.is_string() ? kernels::row_op_of(op.get<std::string>()) : std::nullopt;
  if (!known) refuse_plan(path + ".op", fmt::format("unknown step {}", dump_json(op, -1)));
  step.op = *known;
  const Json& rows = list_of(json, "rows", path);
  if (rows.size() != 2) refuse_plan(path + ".rows", "expected [begin, end]");
  const std::string rows_path = path + ".rows";
  step.rows = {position_from(rows[0], rows_path), rows[1].is_null() ? kEndless : position_from(rows[1], rows_path)};
  storage.push_back(runs_from(list_of(json, "runs", path), step.op, path + ".runs"));
  step.runs = storage.back().data();
  step.num_runs = static_cast<std::int64_t>(storage.back().size());
  const Json& constants = list_of(json, "constants", path);
  if (constants.size() != std::size(step.constants)) refuse_plan(path + ".constants", "expected four numbers");
  for (std::size_t n = 0; n < constants.size(); ++n)
    step.constants[n] = number_from(constants[n], false, path + ".constants");
  const Json& seed = member(json, "seed", path);
  if (!seed.is_number_integer()) refuse_plan(path + ".seed", "expected an integer");
  step.seed = seed.get<std::uint64_t>();
  return step;
}

}  // namespace

RowPlan::RowPlan(const kernels::RowProgram* program_h, int num_heads) {
  if (program_h == nullptr) return;
  auto data = std::make_shared<Data>();
  for (int h = 0; h < num_heads; ++h) {
    auto& steps = data->steps_h.emplace_back();
    for (std::int64_t n = 0; n < program_h[h].num_steps; ++n) {
      RowStep step = program_h[h].steps[n];
      data->runs.emplace_back(step.runs, step.runs + step.num_runs);
      step.runs = data->runs.back().data();
      steps.push_back(step);
    }
    data->program_h.push_back({steps.data(), static_cast<std::int64_t>(steps.size())});
  }
  data_ = std::move(data);
}

const kernels::RowProgram* RowPlan::program(int head) const {
  if (data_ == nullptr) return nullptr;
  const kernels::RowProgram& program = data_->program_h[static_cast<std::size_t>(head)];
  return program.num_steps > 0 ? &program : nullptr;
}

Json RowPlan::to_json() const {
  Json json;
  json["heads"] = Json::array();
  for (std::size_t h = 0; data_ != nullptr && h < data_->steps_h.size(); ++h) {
    if (data_->steps_h[h].empty()) continue;
    Json steps = Json::array();
    for (const RowStep& step : data_->steps_h[h]) steps.push_back(step_json(step));
    const auto same = std::find_if(json["heads"].begin(), json["heads"].end(),
                                   [&](const Json& entry) { return entry["steps"] == steps; });
    if (same != json["heads"].end())
      (*same)["heads"].push_back(h);
    else
      json["heads"].push_back({{"heads", Json::array({h})}, {"steps", std::move(steps)}});
  }
  return json;
}

RowPlan RowPlan::from_json(const Json& json, int num_heads, const std::string& path) {
  auto data = std::make_shared<Data>();
  data->steps_h.resize(static_cast<std::size_t>(num_heads));
  for (const Json& entry : list_of(json, "heads", path)) {
    std::vector<RowStep> steps;
    for (const Json& step : list_of(entry, "steps", path))
      steps.push_back(step_from(step, data->runs, path + ".steps"));
    for (const Json& head : list_of(entry, "heads", path)) {
      const std::int64_t h = position_from(head, path + ".heads");
      if (h >= num_heads) refuse_plan(path + ".heads", fmt::format("head {} does not exist", h));
      data->steps_h[static_cast<std::size_t>(h)] = steps;
    }
  }
  for (const auto& steps : data->steps_h)
    data->program_h.push_back({steps.data(), static_cast<std::int64_t>(steps.size())});
  RowPlan plan;
  plan.data_ = std::move(data);
  return plan;
}

}  // namespace headlight::capture
