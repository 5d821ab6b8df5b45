#include <chrono>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/evaluation/calibration.h"
#include "app/cli/evaluation_inputs.h"
#include "app/cli/journal.h"
#include "app/cli/progress.h"
#include "base/error.h"
#include "base/file.h"
#include "core/engine/model_runner.h"
#include "core/intervention/intervention_file.h"

namespace headlight::cli {
namespace {

using analysis::CalibrationResult;
using analysis::CandidateScorer;
using analysis::Objective;
using analysis::Split;

struct CalibrateOptions {
  TaskOptions common;
  std::string method, objective = "accuracy";
  std::int64_t n = 300, layers = 5;
  bool unsupervised = false;
};

using Calibrate = CalibrationResult (*)(CandidateScorer&, const heads::HeadGrid&, const analysis::CalibrationOptions&);
struct MethodChoice {
  std::string_view id, method;
  Calibrate calibrate;
};
constexpr MethodChoice kMethods[] = {{"act", "act", analysis::calibrate_act},
                                     {"zerotuning", "zero-tuning", analysis::calibrate_zero_tuning},
                                     {"pasta", "pasta", analysis::calibrate_pasta},
                                     {"temperature", "temperature", analysis::calibrate_temperature}};

/// Items of all tasks from one split.
struct Pool {
  std::vector<std::vector<analysis::TaskItem>> items;  ///< what the pool points into
  analysis::ItemPool pool;
};
Pool make_pool(Invocation& invocation, const EvaluationInputs& inputs, const std::vector<TaskChoice>& choices,
               Split split, const CalibrateOptions& options) {
  Pool out;
  for (const TaskChoice& choice : choices)
    out.items.push_back(inputs.items(choice, split, static_cast<std::size_t>(options.n),
                                     static_cast<std::uint64_t>(options.common.seed)));
  for (std::size_t t = 0; t < choices.size(); ++t) {
    if (std::ssize(out.items[t]) < options.n)
      invocation.warn(fmt::format("'{}' has {} different items in the split '{}', not {}", choices[t].task->id,
                                  out.items[t].size(), to_string(split), options.n));
    if (options.method == "pasta" && !out.items[t].empty() && out.items[t].front().evidence.empty())
      throw Error(Errc::invalid_argument,
                  fmt::format("task '{}' marks no evidence that could be emphasised", choices[t].task->id),
                  {.file = {}, .field = "--task", .offset = {}, .hint = "take mapping, key-value, override or needle"});
    out.pool.add(*choices[t].task, analysis::prepare_items(out.items[t], inputs.codec));
  }
  return out;
}

Json parameters_of_search(const CalibrateOptions& options, const analysis::Lexicon& lexicon, Objective objective) {
  return {{"method", options.method},          {"tasks", options.common.tasks},
          {"objective", to_string(objective)}, {"n", options.n},
          {"seed", options.common.seed},       {"best_layers", options.layers},
          {"words_version", lexicon.version()}};
}

Json outcome_json(const analysis::CandidateScore& base, const analysis::CandidateScore& score, std::size_t items) {
  return {{"items", items},
          {"accuracy_base", base.accuracy},
          {"accuracy", score.accuracy},
          {"margin_base", base.margin},
          {"margin", score.margin},
          {"entropy_base", base.entropy},
          {"entropy", score.entropy},
          {"gain", score.gain},
          {"gain_se", score.gain_se},
          {"lost", score.test.lost},
          {"gained", score.test.gained},
          {"p", score.test.p}};
}

std::string outcome_line(std::string_view title, const Json& outcome) {
  return fmt::format(
      "{:<12} {:>6} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.3f} {:>9.3f} {:>9.2g}\n", title, outcome.at("items").get<int>(),
      100 * outcome.at("accuracy_base").get<double>(), 100 * outcome.at("accuracy").get<double>(),
      100 * (outcome.at("accuracy").get<double>() - outcome.at("accuracy_base").get<double>()),
      outcome.at("margin").get<double>() - outcome.at("margin_base").get<double>(),
      outcome.at("entropy").get<double>() - outcome.at("entropy_base").get<double>(), outcome.at("p").get<double>());
}

std::string search_text(const CalibrateOptions& options, const intervention::InterventionFile& file, double seconds) {
  const auto& entry = file.interventions.front();
  std::string text = fmt::format("{} {} on {} heads{}\n\n", entry.method, entry.params.dump(),
                                 entry.scope.heads.empty() ? "all" : std::to_string(entry.scope.heads.size()),
                                 entry.enabled ? "" : ": switched off, nothing was better than the unchanged model");
  text += fmt::format("{:<12} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n", "split", "items", "before %", "after %",
                      "change", "margin", "entropy", "p");
  text += outcome_line("calibration", file.evidence.at("calibration"));
  text += outcome_line("selection", file.evidence.at("selection"));
  return text +
         fmt::format("\nThe first line is what was searched on, the second one is new to the search.\n{}: {:.0f} s\n",
                     options.common.output, seconds);
}

void calibrate(Invocation& invocation, CalibrateOptions& options, const MethodChoice& method) {
  if (options.common.output.empty())
    throw Error(Errc::invalid_argument, "an output file is missing",
                {.file = {}, .field = "--out", .offset = {}, .hint = "for example -o intervention.json"});
  options.method = method.id;
  if (options.unsupervised && method.id != "zerotuning")
    throw Error(Errc::invalid_argument, "only zerotuning can be calibrated without labels",
                {.file = {}, .field = "--unsupervised", .offset = {}, .hint = {}});
  const auto choices = parse_tasks(options.common.tasks);
  check_output_path(options.common.output, options.common.force);
  const auto engine = load_cpu_engine(options.common.model);
  check_output_is_new(options.common.output, engine->model(), {});
  const auto begin = std::chrono::steady_clock::now();
  const EvaluationInputs inputs = make_evaluation_inputs(engine->model());
  const auto runner = engine::make_model_runner(*engine);
  const capture::ModelInfo& model = runner->model();
  const Objective objective = options.unsupervised            ? Objective::entropy
                              : options.objective == "margin" ? Objective::margin
                                                              : Objective::accuracy;
  const Json parameters = parameters_of_search(options, inputs.lexicon, objective);
  Json identity = model_identity(*engine, options.common.model);
  identity["verb"] = "calibrate";
  identity["parameters"] = parameters;
  Journal journal(options.common.output, sha256_hex(identity.dump()), options.common.restart);
  if (journal.num_found() > 0 && !invocation.quiet)
    invocation.warn(fmt::format("going on after {} pieces of an earlier run", journal.num_found()));

  ProgressBar progress(invocation);
  const auto remember_in = [&](std::string split) {
    return [&, split](const std::string& key, const std::function<Json()>& work) {
      // "heads/3/12": piece 3 of the 12 of a stage.
      const auto slash = key.find('/'), last = key.rfind('/');
      progress.update(split + " " + key.substr(0, slash), std::stoll(key.substr(slash + 1, last - slash - 1)),
                      std::stoll(key.substr(last + 1)));
      const std::string name = split + "/" + key;
      const Json* known = journal.find(name);
      return known != nullptr ? *known : journal.add(name, work());
    };
  };
  const Pool calibration = make_pool(invocation, inputs, choices, Split::calibration, options);
  CandidateScorer scorer(*runner, calibration.pool, objective, remember_in("calibration"), invocation.stop);
  const CalibrationResult found = method.calibrate(scorer, {model.num_layers, model.num_heads, model.num_kv_heads},
                                                   {.best_layers = static_cast<std::size_t>(options.layers)});
  for (const std::string& warning : found.warnings) invocation.warn(warning);

  // What a search finds best looks better than it is: once more, with other words.
  const Pool selection = make_pool(invocation, inputs, choices, Split::selection, options);
  CandidateScorer again(*runner, selection.pool, objective, remember_in("selection"), invocation.stop);
  const intervention::Stack chosen = found.found ? intervention::Stack{found.entry} : intervention::Stack{};
  const auto replication = again.score("replication", std::span(&chosen, 1)).front();
  const auto base = scorer.base();
  formats::check_unchanged(engine->model());

  intervention::InterventionFile file;
  file.model = model_json(model);
  file.interventions = {found.entry};
  file.evidence = {{"parameters", parameters},
                   {"calibration", outcome_json(base, found.found ? found.score : base, calibration.pool.items.size())},
                   {"selection", outcome_json(again.base(), replication, selection.pool.items.size())},
                   {"stages", found.stages},
                   {"warnings", found.warnings}};
  const Json document = intervention::to_json(file);
  OutputFile out(options.common.output, options.common.force);
  out.write(dump_json(document) + "\n");
  out.commit();
  journal.remove();
  progress.clear();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (invocation.json)
    print_json(invocation, {options.common.model.model}, document);
  else
    print_text(search_text(options, file, seconds));
}

}  // namespace

Verb calibrate_verb() {
  return {.name = "calibrate",
          .summary = "Search for the heads and the strength of an intervention on a task",
          .examples = {"headlight calibrate zerotuning smollm2-135m --task topic,facts -o zero.json",
                       "headlight calibrate zerotuning smollm2-135m --task T2 --unsupervised -o z.json",
                       "headlight calibrate pasta smollm2-135m --task override --n 100 -o pasta.json"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<CalibrateOptions>();
            const char* group = "Calibration";
            std::vector<std::string> known;
            for (const MethodChoice& method : kMethods) known.emplace_back(method.id);
            app.add_option("METHOD", options->method, "act, zerotuning, pasta or temperature")
                ->required()
                ->check(CLI::IsMember(known));
            add_task_options(app, options->common, group);
            app.add_option("--n", options->n, "Items of each task and split")
                ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
                ->type_name("N")
                ->capture_default_str()
                ->group(group);
            app.add_option("--objective", options->objective, "accuracy, or margin: the mean margin of the gold option")
                ->check(CLI::IsMember({"accuracy", "margin"}))
                ->capture_default_str()
                ->group(group);
            app.add_flag("--unsupervised", options->unsupervised,
                         "zerotuning: gamma of least entropy, for all heads, without labels")
                ->group(group);
            app.add_option("--best-layers", options->layers, "Layers whose heads are tried one by one")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
                ->type_name("N")
                ->capture_default_str()
                ->group(group);
            return [=](Invocation& invocation) {
              for (const MethodChoice& method : kMethods)
                if (method.id == options->method) calibrate(invocation, *options, method);
            };
          }};
}

}  // namespace headlight::cli
