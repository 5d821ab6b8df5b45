#include "analysis/analysis.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analysis/builtin.h"
#include "analysis/registry.h"
#include "base/closest_match.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& sentence) {
  throw Error(Errc::invalid_argument, sentence, {.file = {}, .field = field, .offset = {}, .hint = {}});
}

std::string meant(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string guess = closest_match(word, candidates);
  return guess.empty() ? "" : fmt::format(", did you mean {}?", guess);
}

std::string range_text(const Parameter& p) {
  if (!std::isfinite(p.low) && !std::isfinite(p.high)) return "";
  if (!std::isfinite(p.high)) return fmt::format(" >= {}", p.low);
  if (!std::isfinite(p.low)) return fmt::format(" <= {}", p.high);
  return fmt::format(" within {} to {}", p.low, p.high);
}

std::string expected_text(const Parameter& p) {
  if (p.fallback.is_boolean()) return "true or false";
  if (p.fallback.is_array()) return "an array of numbers" + range_text(p);
  if (p.fallback.is_string())
    return p.choices.empty() ? "a string" : fmt::format("one of {}", fmt::join(p.choices, ", "));
  return (p.fallback.is_number_integer() ? "an integer" : "a number") + range_text(p);
}

bool in_range(const Parameter& p, const Json& value) {
  return value.is_number() && value.get<double>() >= p.low && value.get<double>() <= p.high;
}

bool accepts(const Parameter& p, const Json& value) {
  if (p.fallback.is_boolean()) return value.is_boolean();
  if (p.fallback.is_array())
    return value.is_array() && std::all_of(value.begin(), value.end(), [&](const Json& v) { return in_range(p, v); });
  if (p.fallback.is_string())
    return value.is_string() && (p.choices.empty() || std::find(p.choices.begin(), p.choices.end(),
                                                                value.get<std::string>()) != p.choices.end());
  return in_range(p, value) && (value.is_number_integer() || !p.fallback.is_number_integer());
}

bool has_statistics(const capture::CaptureView& capture, std::int64_t record, std::string_view id) {
  const auto available = capture.available_statistics(record);
  return std::find(available.begin(), available.end(), id) != available.end();
}

bool has_hidden_facts(const capture::CaptureView& capture, std::int64_t record) {
  try {
    return !capture.hidden(record, "norm_l2").empty();
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;
    return false;
  }
}

bool supplies(const capture::CaptureView& capture, std::int64_t record, const capture::RecordInfo& info, Need need) {
  switch (need) {
    case Need::row:
      return has_statistics(capture, record, "entropy");
    case Need::column:
      return has_statistics(capture, record, "received");
    case Need::block:
      return info.has_overview;
    case Need::qkv:
      return info.has_replay;
    case Need::hidden:
      return has_hidden_facts(capture, record);
    case Need::states:
      return info.has_hidden_states;
    case Need::weights:
    case Need::run:
    case Need::gradient:
      return false;  // a capture alone has no model
  }
  return false;
}

/// A mean over records makes no sense along the text.
bool belongs_to_one_record(const Series& series) {
  return std::any_of(series.axes.begin(), series.axes.end(),
                     [](const std::string& axis) { return axis == "query" || axis == "key"; });
}

Series mean_of(const std::vector<AnalysisReport>& reports, std::size_t which) {
  Series mean = reports.front().series[which];
  for (std::size_t at = 0; at < mean.values.size(); ++at) {
    double sum = 0.0;
    int count = 0;
    for (const auto& report : reports) {
      const double value = report.series[which].values[at];
      if (std::isnan(value)) continue;
      sum += value;
      ++count;
    }
    mean.values[at] = count > 0 ? sum / count : kUndefined;
  }
  return mean;
}

Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json series_json(const Series& series, std::size_t max_values) {
  Json values = nullptr;
  if (series.values.size() <= max_values) {
    values = Json::array();
    for (const double value : series.values) values.push_back(number_or_null(value));
  }
  return {{"id", series.id},
          {"unit", series.unit},
          {"formula", series.formula},
          {"axes", series.axes},
          {"shape", series.shape},
          {"range", {number_or_null(series.low), number_or_null(series.high)}},
          {"values", std::move(values)}};
}

}  // namespace

std::string_view to_string(Need need) {
  switch (need) {
    case Need::row:
      return "row";
    case Need::column:
      return "column";
    case Need::block:
      return "block";
    case Need::qkv:
      return "qkv";
    case Need::hidden:
      return "hidden";
    case Need::states:
      return "states";
    case Need::weights:
      return "weights";
    case Need::run:
      return "run";
    case Need::gradient:
      return "gradient";
  }
  return "row";
}

namespace {

std::vector<Analysis>& analysis_list() {
  static std::vector<Analysis> all = [] {
    std::vector<Analysis> list;
    for (const auto& topic : {sink_analyses, entropy_analyses, rope_analyses, similarity_analyses, attribution_analyses,
                              detection_analyses, embedding_analyses}) {
      std::vector<Analysis> of_topic = topic();
      std::move(of_topic.begin(), of_topic.end(), std::back_inserter(list));
    }
    return list;
  }();
  return all;
}

}  // namespace

const std::vector<Analysis>& analyses() {
  return analysis_list();
}

void register_analysis(Analysis analysis) {
  for (const Analysis& known : analysis_list())
    if (known.id == analysis.id)
      throw Error(Errc::bad_format, fmt::format("there is an analysis '{}' already", analysis.id));
  analysis_list().push_back(std::move(analysis));
}

const Analysis& require_analysis(std::string_view id) {
  std::vector<std::string> ids;
  for (const Analysis& analysis : analyses()) {
    if (analysis.id == id) return analysis;
    ids.emplace_back(analysis.id);
  }
  throw Error(Errc::invalid_argument,
              fmt::format("unknown analysis '{}'{}; there are: {}", id, meant(id, ids), fmt::join(ids, ", ")));
}

Json resolve_params(const Analysis& analysis, const Json& given) {
  Json params = Json::object();
  std::vector<std::string> names;
  for (const Parameter& p : analysis.parameters) {
    params[std::string(p.name)] = p.fallback;
    names.emplace_back(p.name);
  }
  for (const auto& [name, value] : given.items()) {
    const auto found = std::find_if(analysis.parameters.begin(), analysis.parameters.end(),
                                    [&](const Parameter& p) { return p.name == name; });
    const std::string field = fmt::format("{}.{}", analysis.id, name);
    if (found == analysis.parameters.end())
      refuse(field, fmt::format("unknown parameter{}; there are: {}", meant(name, names),
                                names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
    if (!accepts(*found, value))
      refuse(field, fmt::format("expected {}, found {}", expected_text(*found), dump_json(value, -1)));
    params[name] = found->fallback.is_number_float() ? Json(value.get<double>()) : value;
  }
  return params;
}

std::vector<Need> missing_needs(const Analysis& analysis, const capture::CaptureView& capture, std::int64_t record) {
  const capture::RecordInfo info = capture.record(record);
  std::vector<Need> missing;
  for (const Need need : analysis.needs)
    if (!supplies(capture, record, info, need)) missing.push_back(need);
  return missing;
}

AnalysisReport run_analysis(const Analysis& analysis, const AnalysisInput& input, const Json& given,
                            std::stop_token stop) {
  Json params = resolve_params(analysis, given);
  std::vector<std::string_view> missing;
  for (const Need need : missing_needs(analysis, input.capture, input.record)) missing.push_back(to_string(need));
  if (!missing.empty())
    refuse(std::string(analysis.id), fmt::format("not available: needs {}", fmt::join(missing, ", ")));
  AnalysisReport report = analysis.run(input, params, stop);
  report.id = analysis.id;
  report.version = analysis.version;
  report.params = std::move(params);
  return report;
}

AnalysisReport mean_report(const std::vector<AnalysisReport>& reports) {
  HEADLIGHT_CHECK(!reports.empty());
  if (reports.size() == 1) return reports.front();
  AnalysisReport mean;
  mean.id = reports.front().id;
  mean.version = reports.front().version;
  mean.params = reports.front().params;
  bool left_out = false;
  for (std::size_t s = 0; s < reports.front().series.size(); ++s) {
    const Series& first = reports.front().series[s];
    const bool comparable = std::all_of(reports.begin(), reports.end(), [&](const AnalysisReport& report) {
      return report.series.size() > s && report.series[s].id == first.id && report.series[s].shape == first.shape;
    });
    if (comparable && !belongs_to_one_record(first))
      mean.series.push_back(mean_of(reports, s));
    else
      left_out = true;
  }
  mean.notes.push_back(fmt::format("mean over {} records", reports.size()));
  for (const auto& report : reports) {
    left_out |= !report.tables.empty();
    for (const auto& note : report.notes)
      if (std::find(mean.notes.begin(), mean.notes.end(), note) == mean.notes.end()) mean.notes.push_back(note);
  }
  if (left_out) mean.notes.emplace_back("tables and series along the text are shown for single records only");
  return mean;
}

Json to_json(const AnalysisReport& report, std::size_t max_values) {
  Json series = Json::array(), tables = Json::array();
  for (const Series& one : report.series) series.push_back(series_json(one, max_values));
  for (const Table& table : report.tables)
    tables.push_back({{"id", table.id}, {"title", table.title}, {"columns", table.columns}, {"rows", table.rows}});
  return {{"id", report.id},
          {"version", report.version},
          {"params", report.params},
          {"series", std::move(series)},
          {"tables", std::move(tables)},
          {"notes", report.notes}};
}

Json to_json(const Analysis& analysis) {
  Json needs = Json::array(), parameters = Json::array();
  for (const Need need : analysis.needs) needs.push_back(to_string(need));
  for (const Parameter& p : analysis.parameters) {
    Json one = {{"name", p.name}, {"default", p.fallback}, {"expected", expected_text(p)}, {"doc", p.doc}};
    if (!p.choices.empty()) one["choices"] = p.choices;
    parameters.push_back(std::move(one));
  }
  return {{"id", analysis.id},
          {"title", analysis.title},
          {"summary", analysis.summary},
          {"source", analysis.source},
          {"version", analysis.version},
          {"needs", std::move(needs)},
          {"default", analysis.by_default},
          {"parameters", std::move(parameters)}};
}

}  // namespace headlight::analysis
