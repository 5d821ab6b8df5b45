#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "analysis/analysis.h"
#include "analysis/findings/findings.h"
#include "app/cli/capture_input.h"
#include "app/cli/npy.h"
#include "app/cli/progress.h"
#include "app/cli/report_text.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace headlight::cli {
namespace {

namespace fs = std::filesystem;
using analysis::Analysis;
using analysis::AnalysisReport;

constexpr std::size_t kMaxJsonValues = 1000;

struct AnalyzeOptions {
  std::string path, record = "0", output, headplan;
  std::vector<std::string> only, params;
  bool all = false, list = false, findings = false, allow_incomplete = false, force = false;
  int threads = 0;
};

[[noreturn]] void refuse(const std::string& field, const std::string& sentence) {
  throw Error(Errc::invalid_argument, sentence, {.file = {}, .field = field, .offset = {}, .hint = {}});
}

/// Values of --param id.name=value by analysis. A value is JSON, or else a string.
std::map<std::string, Json> given_params(const std::vector<std::string>& texts) {
  std::map<std::string, Json> given;
  for (const std::string& text : texts) {
    const auto equals = text.find('='), dot = text.substr(0, equals).rfind('.');
    if (equals == std::string::npos || dot == std::string::npos)
      refuse("--param", fmt::format("expected ID.NAME=VALUE, found '{}'", text));
    const std::string id = text.substr(0, dot), name = text.substr(dot + 1, equals - dot - 1);
    Json value = text.substr(equals + 1);
    try {
      value = parse_json(text.substr(equals + 1));
    } catch (const Error&) {  // a word
    }
    Json& of_analysis = given.try_emplace(id, Json::object()).first->second;
    of_analysis[name] = std::move(value);
    resolve_params(analysis::require_analysis(id), of_analysis);  // say at once what is wrong
  }
  return given;
}

/// Records to look at: one, or all for "mean".
std::vector<std::int64_t> chosen_records(const capture::CaptureView& view, const std::string& text) {
  std::vector<std::int64_t> records;
  if (text == "mean") {
    for (std::int64_t r = 0; r < view.num_records(); ++r) records.push_back(r);
    return records;
  }
  std::int64_t record = -1;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), record);
  if (status != std::errc() || end != text.data() + text.size() || record < 0 || record >= view.num_records())
    refuse("--record", fmt::format("expected mean or a record within 0-{}, found {}", view.num_records() - 1, text));
  return {record};
}

struct Unavailable {
  const Analysis* analysis = nullptr;
  std::vector<std::string_view> needs;
  std::string reason;
};

struct Outcome {
  std::vector<std::pair<const Analysis*, AnalysisReport>> reports;
  std::vector<Unavailable> unavailable;
  std::vector<analysis::Finding> findings;
};

std::vector<const Analysis*> chosen_analyses(const AnalyzeOptions& options) {
  std::vector<const Analysis*> chosen;
  for (const std::string& id : options.only) chosen.push_back(&analysis::require_analysis(id));
  for (const Analysis& one : analysis::analyses())
    if (options.only.empty() && (options.all || one.by_default)) chosen.push_back(&one);
  return chosen;
}

Outcome run_all(Invocation& invocation, const capture::CaptureView& view, const AnalyzeOptions& options,
                const std::map<std::string, Json>& given, ThreadPool& pool) {
  const std::vector<std::int64_t> records = chosen_records(view, options.record);
  const std::vector<std::int64_t> records_once = {records.front()};  // of analyses that look at all records themselves
  const std::vector<const Analysis*> chosen = chosen_analyses(options);
  Outcome outcome;
  ProgressBar progress(invocation);
  const auto total = std::ssize(chosen) * std::ssize(records);
  std::int64_t done = 0;
  for (const Analysis* one : chosen) {
    Unavailable missing{one, {}, {}};
    for (const analysis::Need need : analysis::missing_needs(*one, view, records.front()))
      missing.needs.push_back(analysis::to_string(need));
    if (!missing.needs.empty()) {
      missing.reason = fmt::format("not available: needs {}", fmt::join(missing.needs, ", "));
      outcome.unavailable.push_back(std::move(missing));
      done += std::ssize(records);
      continue;
    }
    const auto params = given.find(std::string(one->id));
    const auto start = std::chrono::steady_clock::now();
    std::vector<AnalysisReport> reports;
    try {
      for (const std::int64_t record : one->over_records ? records_once : records) {
        progress.update(one->id, done++, total);
        reports.push_back(run_analysis(*one, {view, record, pool},
                                       params == given.end() ? Json::object() : params->second, invocation.stop));
      }
    } catch (const Error& error) {  // a text that is too short, heads that are not recorded
      if (error.code() != Errc::invalid_argument) throw;
      missing.reason = error.what();
      outcome.unavailable.push_back(std::move(missing));
      continue;
    }
    outcome.reports.emplace_back(one, analysis::mean_report(reports));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (invocation.verbose) log_info(fmt::format("{}: {:.2f} s", one->id, seconds.count()));
  }
  if (!options.only.empty() && !outcome.unavailable.empty())
    refuse(fmt::format("--only {}", outcome.unavailable.front().analysis->id), outcome.unavailable.front().reason);
  return outcome;
}

std::vector<analysis::Finding> findings_of(const capture::CaptureView& view, const AnalyzeOptions& options,
                                           const Outcome& outcome, const std::stop_token& stop) {
  heads::Headplan plan;
  if (!options.headplan.empty()) plan = load_headplan_for(view.header().model, options.headplan);
  std::vector<AnalysisReport> reports;
  for (const auto& [one, report] : outcome.reports) reports.push_back(report);
  return analysis::findings(
      {view, chosen_records(view, options.record).front(), reports, options.headplan.empty() ? nullptr : &plan}, stop);
}

Json outcome_json(const capture::CaptureView& view, const AnalyzeOptions& options, const Outcome& outcome,
                  std::size_t max_values) {
  Json reports = Json::array(), unavailable = Json::array(), findings = Json::array();
  for (const auto& finding : outcome.findings) findings.push_back(to_json(finding));
  for (const auto& [one, report] : outcome.reports) {
    Json json = analysis::to_json(report, max_values);
    json["title"] = one->title;
    json["source"] = one->source;
    reports.push_back(std::move(json));
  }
  for (const Unavailable& one : outcome.unavailable)
    unavailable.push_back({{"id", one.analysis->id}, {"needs", one.needs}, {"reason", one.reason}});
  Json result = {{"capture",
                  {{"name", fs::path(view.name()).filename().string()},
                   {"uuid", view.uuid()},
                   {"model", view.header().model.name},
                   {"layers", view.header().plan.layers}}},
                 {"record", options.record == "mean" ? Json("mean") : parse_json(options.record)},
                 {"analyses", std::move(reports)},
                 {"not_available", std::move(unavailable)}};
  if (options.findings) result["findings"] = std::move(findings);
  return result;
}

void write_text(const fs::path& path, const std::string& text, bool force) {
  OutputFile file(path, force);
  file.write(text);
  file.commit();
}

void write_document(const Invocation& invocation, const AnalyzeOptions& options, const fs::path& path, Json result) {
  Json document;
  document["schema"] = "headlight.analyze/1";
  document["tool"] = {{"name", "headlight"}, {"version", version()}};
  document["inputs"] = {options.path};
  document["result"] = std::move(result);
  document["warnings"] = invocation.warnings;
  write_text(path, dump_json(document) + "\n", options.force);
}

/// A folder: the document, every series as .npy (float32) and every table as .csv.
void write_folder(const Invocation& invocation, const AnalyzeOptions& options, const Outcome& outcome, Json result) {
  const fs::path folder = options.output;
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    throw Error(Errc::io, "cannot be created: " + failed.message(),
                {.file = options.output, .field = {}, .offset = {}, .hint = {}});
  for (const auto& [one, report] : outcome.reports) {
    for (const analysis::Series& series : report.series) {
      const std::vector<float> values(series.values.begin(), series.values.end());
      write_npy(folder / fmt::format("{}.{}.npy", one->id, series.id), values, series.shape, options.force);
    }
    for (const analysis::Table& table : report.tables)
      write_text(folder / fmt::format("{}.{}.csv", one->id, table.id), table_csv(table), options.force);
  }
  write_document(invocation, options, folder / "analyze.json", std::move(result));
}

void list(Invocation& invocation) {
  Json all = Json::array();
  std::string text;
  for (const Analysis& one : analysis::analyses()) {
    all.push_back(analysis::to_json(one));
    text += describe(one);
  }
  if (invocation.json)
    print_json(invocation, {}, {{"analyses", std::move(all)}});
  else
    print_text(text);
}

void analyze(Invocation& invocation, const AnalyzeOptions& options) {
  if (options.list) return list(invocation);
  if (options.path.empty()) refuse("CAPTURE", "is required");
  if (options.findings && options.record == "mean")
    refuse("--findings", "speak about one record: choose it with --record R");
  check_not_input(options.output, {options.path});
  const auto given = given_params(options.params);
  const auto view = open_capture_input({options.path, 0, options.allow_incomplete});
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::available_threads());
  Outcome outcome = run_all(invocation, *view, options, given, pool);
  if (options.findings) outcome.findings = findings_of(*view, options, outcome, invocation.stop);
  if (options.output.ends_with(".json"))
    write_document(invocation, options, options.output, outcome_json(*view, options, outcome, SIZE_MAX));
  else if (!options.output.empty())
    write_folder(invocation, options, outcome, outcome_json(*view, options, outcome, kMaxJsonValues));
  if (invocation.json) {
    if (options.output.empty())
      invocation.warn(
          fmt::format("series of more than {} values are left out: use -o FILE.json or a folder", kMaxJsonValues));
    print_json(invocation, {options.path}, outcome_json(*view, options, outcome, kMaxJsonValues));
    return;
  }
  std::string text = findings_text(outcome.findings);
  for (const auto& [one, report] : outcome.reports)
    if (!options.findings) text += report_text(*one, report, view->header().plan.layers) + "\n";
  for (const Unavailable& one : outcome.unavailable) text += fmt::format("{}: {}\n", one.analysis->id, one.reason);
  if (!options.output.empty()) text += fmt::format("written: {}\n", options.output);
  print_text(text);
}

}  // namespace

Verb analyze_verb() {
  return {
      .name = "analyze",
      .summary = "Analyses over a capture: sinks, entropy, positions, similarity, attribution",
      .examples = {"headlight analyze capture.h5", "headlight analyze capture.h5 --findings",
                   "headlight analyze --list", "headlight analyze capture.h5 --only span --param span.rows=256",
                   "headlight analyze corpus.h5 --record mean -o analysis/"},
      .reads_capture = true,
      .define = [](CLI::App& app) -> Action {
        auto options = std::make_shared<AnalyzeOptions>();
        app.add_option("CAPTURE", options->path, "Capture file (.h5)");
        app.add_flag("--list", options->list, "Show every analysis with its needs and parameters");
        app.add_option("--only", options->only, "Run these, and fail if one cannot")->delimiter(',')->type_name("ID");
        app.add_flag("--all", options->all, "Also those that are run on demand only");
        app.add_flag("--findings", options->findings, "Say in sentences what the numbers show, strongest first");
        app.add_option("--headplan", options->headplan, "headplan.json whose roles --findings may state")
            ->type_name("FILE");
        app.add_option("--record", options->record, "Record of a corpus, or the mean over all")
            ->type_name("R|mean")
            ->capture_default_str();
        app.add_option("--param", options->params, "Parameter of an analysis; may be repeated")
            ->type_name("ID.NAME=VALUE");
        app.add_option("-o,--out", options->output, "Write all values: one .json, or a folder of .npy and .csv")
            ->type_name("FILE|DIR");
        app.add_option("--threads", options->threads, "CPU threads; 0 = all")
            ->check(CLI::Range(0, 1024))
            ->type_name("N")
            ->capture_default_str();
        app.add_flag("--allow-incomplete", options->allow_incomplete, "Accept an interrupted or recovered capture");
        app.add_flag("--force", options->force, "Overwrite the output");
        return [=](Invocation& invocation) { analyze(invocation, *options); };
      }};
}

}  // namespace headlight::cli
