#include <algorithm>
#include <chrono>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/roles/role_report.h"
#include "app/cli/intervention_input.h"
#include "app/cli/journal.h"
#include "app/cli/model_input.h"
#include "app/cli/progress.h"
#include "app/cli/role_inputs.h"
#include "base/error.h"
#include "base/file.h"
#include "core/engine/model_runner.h"
#include "core/intervention/intervention_file.h"

namespace headlight::cli {
namespace {

using analysis::Experiment;
using analysis::ExperimentSamples;

struct RolesOptions {
  ModelOptions model;
  std::string suite = "default", output;
  std::int64_t seed = 0;
  std::vector<std::int64_t> lengths;
  int top = 5;
  bool force = false, restart = false;
};

/// Scores shown in the table, and what they are called there.
constexpr std::pair<std::string_view, std::string_view> kShown[] = {
    {"retrieval", "retrieval"},
    {"semantic-retrieval", "semantic retrieval"},
    {"retrieval-reasoning", "retrieval and reasoning"},
    {"induction", "induction"},
    {"duplicate-token", "duplicate token"},
    {"previous-token", "previous token"},
    {"positional", "positional"},
    {"current-token", "current token"},
    {"first-token", "first token"},
    {"local-16", "local (16 tokens)"},
    {"entropy-share", "broad"},
    {"mean-qk", "mean query-key (far)"},
    {"tracker-margin", "instruction tracking"},
    {"receiver", "receiver"},
    {"logit-attribution", "adds to the answer's logit"},
    {"copy-score", "copying"},
    {"gate-importance", "importance by gates"},
    {"ablation", "loss when removed"},
};

std::string identity_of(const engine::Engine& engine, const RolesOptions& options, const Json& interventions) {
  Json identity = model_identity(engine, options.model);
  identity["seed"] = options.seed;
  if (!interventions.empty()) identity["interventions"] = interventions;
  return sha256_hex(identity.dump());
}

heads::Headplan empty_plan(const capture::ModelInfo& model) {
  heads::Headplan plan;
  plan.model.name = model.name;
  plan.model.arch = model.architecture;
  plan.model.config_sha256 = sha256_hex(model.config_json);
  plan.model.tokenizer_sha256 = model.tokenizer_sha256;
  plan.model.grid = {model.num_layers, model.num_heads, model.num_kv_heads};
  plan.model.head_dim = model.head_dim;
  return plan;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> lengths) {
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

/// Runs what the journal does not know yet.
ExperimentSamples run_experiment(Invocation& invocation, const Experiment& experiment,
                                 const analysis::ExperimentContext& context, Journal& journal) {
  ExperimentSamples found{.experiment = &experiment, .samples = {}, .seconds = 0};
  const auto items = experiment.items(context.inputs, context.runner.model());
  if (items.empty()) {
    invocation.warn(fmt::format("'{}' is left out: it cannot be done with this model", experiment.id));
    return found;
  }
  ProgressBar progress(invocation);
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t k = 0; k < items.size(); ++k) {
    const std::string key = fmt::format("{}/{}", experiment.id, items[k].key);
    progress.update(experiment.id, static_cast<std::int64_t>(k), std::ssize(items));
    const Json* known = journal.find(key);
    if (known == nullptr) known = &journal.add(key, analysis::to_json(experiment.run(context, k)));
    found.samples.push_back(analysis::head_sample_from_json(*known));
  }
  found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return found;
}

std::string table_text(const heads::Headplan& plan, const RolesOptions& options) {
  std::string text = fmt::format("{}: {} layers x {} heads\n\nprimary role        heads\n", plan.model.name,
                                 plan.model.grid.num_layers, plan.model.grid.num_heads);
  for (const auto& [role, count] : analysis::count_roles(plan)) text += fmt::format("{:<18} {:>6}\n", role, count);
  text += "\nstrongest heads (mean over samples, 95 % interval of the mean)\n";
  for (const auto& [id, title] : kShown) {
    const auto heads = analysis::strongest(plan, id, static_cast<std::size_t>(options.top));
    if (heads.empty()) continue;
    text += fmt::format("\n{} [{}], {} samples\n", title, id, plan.find_score(id)->n);
    for (const auto& head : heads) {
      const std::string interval = std::isnan(head.low) ? "" : fmt::format("   [{:.3f}, {:.3f}]", head.low, head.high);
      text += fmt::format("{:>8} {:>8.3f}{}\n", heads::to_string(head.id), head.value, interval);
    }
  }
  return text;
}

Json result_json(const heads::Headplan& plan, const RolesOptions& options, double seconds) {
  Json roles = Json::object(), strongest = Json::object();
  for (const auto& [role, count] : analysis::count_roles(plan)) roles[role] = count;
  for (const auto& score : plan.scores) {
    Json list = Json::array();
    for (const auto& head : analysis::strongest(plan, score.id, static_cast<std::size_t>(options.top))) {
      const auto number = [](double v) { return std::isnan(v) ? Json(nullptr) : Json(v); };
      list.push_back({{"head", heads::to_string(head.id)},
                      {"value", head.value},
                      {"ci_low", number(head.low)},
                      {"ci_high", number(head.high)}});
    }
    strongest[score.id] = std::move(list);
  }
  return {{"output", options.output},
          {"primary_roles", roles},
          {"strongest", std::move(strongest)},
          {"experiments", plan.other.at("experiments")},
          {"seconds", seconds}};
}

std::vector<double> windows_of(const engine::Engine& engine) {
  std::vector<double> windows;
  for (int l = 0; l < engine.spec().num_layers; ++l)
    windows.insert(windows.end(), static_cast<std::size_t>(engine.spec().num_heads),
                   static_cast<double>(engine.layer_parameters(l).window));
  return windows;
}

void roles(Invocation& invocation, const RolesOptions& options) {
  if (options.output.empty())
    throw Error(Errc::invalid_argument, "an output file is missing",
                {.file = {}, .field = "--out", .offset = {}, .hint = "for example -o headplan.json"});
  const auto chosen = analysis::select_experiments(options.suite);
  check_output_path(options.output, options.force);
  const auto engine = load_engine(options.model);
  check_output_is_new(options.output, engine->model(), {});
  const auto begin = std::chrono::steady_clock::now();
  analysis::RoleInputs inputs = make_role_inputs(engine->model(), static_cast<std::uint64_t>(options.seed));
  if (!options.lengths.empty()) inputs.needle_lengths = sorted(options.lengths);
  const intervention::InterventionFile changes{
      .model = {}, .evidence = {}, .interventions = read_interventions(options.model, {}), .contrast = {}};
  const Json stack = changes.interventions.empty() ? Json() : intervention::to_json(changes)["interventions"];
  const auto runner = engine::make_model_runner(*engine, changes.interventions);
  Journal journal(options.output, identity_of(*engine, options, stack), options.restart);
  if (journal.num_found() > 0 && !invocation.quiet)
    invocation.warn(fmt::format("going on after {} inputs of an earlier run", journal.num_found()));

  std::vector<ExperimentSamples> found;
  for (const Experiment* experiment : chosen)
    found.push_back(run_experiment(invocation, *experiment, {*runner, inputs, invocation.stop}, journal));
  formats::check_unchanged(engine->model());

  heads::Headplan plan = empty_plan(runner->model());
  analysis::add_roles(plan, found, inputs, runner->model(), windows_of(*engine));
  if (!stack.empty()) plan.other["interventions"] = stack;
  heads::save_headplan(plan, options.output, options.force);
  journal.remove();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (invocation.json)
    print_json(invocation, {options.model.model}, result_json(plan, options, seconds));
  else
    print_text(table_text(plan, options) +
               fmt::format("\n{}: {} scores in {:.0f} s\n", options.output, plan.scores.size(), seconds));
}

}  // namespace

Verb roles_verb() {
  return {.name = "roles",
          .summary = "Run a model on test inputs and say which role each attention head plays",
          .examples = {"headlight roles smollm2-135m -o headplan.json",
                       "headlight roles smollm2-135m --suite repeats,needles -o headplan.json --json",
                       "headlight roles smollm2-135m --suite full -o headplan.json"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<RolesOptions>();
            add_model_options(app, options->model);
            add_intervention_option(app, options->model);
            const char* group = "Roles";
            std::string known;
            for (const Experiment& experiment : analysis::experiments())
              known += (known.empty() ? "" : ", ") + std::string(experiment.id);
            app.add_option("-o,--out", options->output, "Headplan file")->type_name("FILE.json")->group(group);
            app.add_option("--suite", options->suite, "default, full, or a list of " + known)
                ->type_name("LIST")
                ->capture_default_str()
                ->group(group);
            app.add_option("--lengths", options->lengths, "Tokens of needle prompts; default 256,512,1024,2048")
                ->delimiter(',')
                ->check(CLI::Range(std::int64_t{128}, std::int64_t{1} << 22))
                ->type_name("LIST")
                ->group(group);
            app.add_option("--seed", options->seed, "Seed of the test inputs")
                ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 53))
                ->type_name("N")
                ->capture_default_str()
                ->group(group);
            app.add_option("--top", options->top, "Heads shown per score")
                ->check(CLI::Range(1, 1000))
                ->type_name("N")
                ->capture_default_str()
                ->group(group);
            app.add_flag("--restart", options->restart, "Forget what an interrupted run found")->group(group);
            app.add_flag("--force", options->force, "Overwrite the output")->group(group);
            return [=](Invocation& invocation) { roles(invocation, *options); };
          }};
}

}  // namespace headlight::cli
