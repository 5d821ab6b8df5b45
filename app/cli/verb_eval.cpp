#include <chrono>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/evaluation/evaluation.h"
#include "analysis/evaluation/harm.h"
#include "app/cli/evaluation_inputs.h"
#include "app/cli/intervention_input.h"
#include "app/cli/journal.h"
#include "app/cli/progress.h"
#include "base/error.h"
#include "base/file.h"
#include "core/engine/model_runner.h"
#include "core/intervention/intervention_file.h"

namespace headlight::cli {
namespace {

struct EvalOptions {
  TaskOptions common;
  std::string split = "test", items_file;
  std::int64_t n = 500, draws = 20, control_items = 0;
  bool no_controls = false, no_harm = false;
};

Json stack_json(const intervention::Stack& stack) {
  Json list = Json::array();
  for (const auto& entry : stack) list.push_back(intervention::to_json(entry));
  return list;
}

/// Everything but the thread count that the numbers depend on.
Json parameters_of(const EvalOptions& options, const analysis::Lexicon& lexicon, const intervention::Stack& stack) {
  return {{"split", options.split},
          {"n", options.n},
          {"seed", options.common.seed},
          {"draws", options.no_controls || stack.empty() ? 0 : options.draws},
          {"control_items", options.control_items},
          {"words_version", lexicon.version()}};
}

/// Result of a piece of work, from the journal or by doing it.
template <class Work>
const Json& known_or(Journal& journal, const std::string& key, const Work& work) {
  const Json* known = journal.find(key);
  return known != nullptr ? *known : journal.add(key, work());
}

class EvalRun {
 public:
  EvalRun(Invocation& invocation, const EvalOptions& options, const engine::Engine& engine, ModelRunner& runner,
          const EvaluationInputs& inputs, const intervention::Stack& stack)
      : invocation_(invocation),
        options_(options),
        runner_(runner),
        inputs_(inputs),
        stack_(stack),
        journal_(options.common.output, identity(engine), options.common.restart) {
    if (journal_.num_found() > 0 && !invocation.quiet)
      invocation.warn(fmt::format("going on after {} pieces of an earlier run", journal_.num_found()));
  }

  Json task(const TaskChoice& choice) {
    const auto split = analysis::parse_split(options_.split);
    const auto count = static_cast<std::size_t>(options_.n);
    auto items = inputs_.items(choice, split, count, static_cast<std::uint64_t>(options_.common.seed));
    if (items.size() < count)
      invocation_.warn(fmt::format("'{}' has {} different items in the split '{}', not {}", choice.task->id,
                                   items.size(), options_.split, count));
    for (const analysis::TaskItem& item : items) all_items_.push_back(to_json(item, split));
    const auto& model = runner_.model();
    const analysis::TaskEvaluation evaluation(*choice.task, std::move(items), inputs_.codec, inputs_.spare_bos, stack_,
                                              {model.num_layers, model.num_heads, model.num_kv_heads},
                                              {.split = split,
                                               .seed = static_cast<std::uint64_t>(options_.common.seed),
                                               .draws = static_cast<std::size_t>(options_.draws),
                                               .control_items = static_cast<std::size_t>(options_.control_items),
                                               .controls = !options_.no_controls});
    ProgressBar progress(invocation_);
    std::vector<Json> parts;
    for (std::size_t part = 0; part < evaluation.num_parts(); ++part) {
      progress.update(choice.task->id, static_cast<std::int64_t>(part),
                      static_cast<std::int64_t>(evaluation.num_parts()));
      parts.push_back(known_or(journal_, fmt::format("{}:{}/{}", choice.task->id, choice.variant, part),
                               [&] { return evaluation.run(runner_, part, parts, invocation_.stop); }));
    }
    Json report = evaluation.report(parts);
    report["variant"] = choice.variant;
    add_item_results(parts);
    return report;
  }

  Json harm() {
    const auto inputs = analysis::harm_inputs(inputs_.text, inputs_.tokens, inputs_.codec.bos,
                                              static_cast<std::uint64_t>(options_.common.seed));
    ProgressBar progress(invocation_);
    progress.update("harm", 0, 2);
    Json json = {{"base", known_or(journal_, "harm/base", [&] {
                    return to_json(analysis::measure_harm(runner_, inputs, {}, invocation_.stop));
                  })}};
    progress.update("harm", 1, 2);
    if (analysis::needs_items(stack_))
      json["new"] = nullptr;  // it acts on words that neutral text does not have
    else if (!stack_.empty())
      json["new"] = known_or(journal_, "harm/new", [&] {
        return to_json(analysis::measure_harm(runner_, inputs, stack_, invocation_.stop));
      });
    return json;
  }

  /// A line for every item, with its scores.
  void write_items() const {
    OutputFile file(options_.items_file, options_.common.force);
    for (const Json& item : all_items_) file.write(item.dump() + "\n");
    file.commit();
  }
  void finish() { journal_.remove(); }

 private:
  std::string identity(const engine::Engine& engine) const {
    Json json = model_identity(engine, options_.common.model);
    json["verb"] = "eval";
    json["parameters"] = parameters_of(options_, inputs_.lexicon, stack_);
    json["controls"] = !options_.no_controls;
    json["interventions"] = stack_json(stack_);
    return sha256_hex(json.dump());
  }

  void add_item_results(std::span<const Json> parts) {
    std::size_t next = num_scored_;
    for (const Json& part : parts.subspan(1))
      for (std::size_t k = 0; k < part.at("scores").at("base").size(); ++k, ++next)
        for (const char* arm : {"base", "new"})
          if (part.at("scores").contains(arm)) all_items_[next]["scores"][arm] = part["scores"][arm][k];
    num_scored_ = next;
  }

  Invocation& invocation_;
  const EvalOptions& options_;
  ModelRunner& runner_;
  const EvaluationInputs& inputs_;
  const intervention::Stack& stack_;
  Journal journal_;
  std::vector<Json> all_items_;
  std::size_t num_scored_ = 0;
};

std::string percent(double share) {
  return fmt::format("{:.1f}", 100 * share);
}

std::string task_line(const Json& task) {
  const Json& base = task.at("arms").at("base");
  std::string line =
      fmt::format("{:<14} {:>5} {:>6} {:>6} ±{:<4}", task.at("id").get<std::string>(), task.at("n").get<int>(),
                  percent(task.at("chance")), percent(base.at("accuracy")), percent(base.at("accuracy_se")));
  if (task.contains("effect")) {
    const Json& effect = task["effect"];
    line += fmt::format(" {:>6} {:>+6.1f} [{:+.1f}, {:+.1f}] {:>8.2g} {:>+8.3f} {:>8.2g}",
                        percent(task.at("arms").at("new").at("accuracy")), 100 * effect.at("difference").get<double>(),
                        100 * effect.at("low").get<double>(), 100 * effect.at("high").get<double>(),
                        effect.at("q").get<double>(), effect.at("margin").at("difference").get<double>(),
                        task.at("arms").at("new").at("kl").get<double>());
  }
  return line + (task.at("above_chance").get<bool>() ? "\n" : "   not above chance\n");
}

std::string control_lines(const Json& task) {
  if (!task.contains("controls")) return "";
  std::string text = fmt::format("\ncontrols of {}\n", task.at("id").get<std::string>());
  for (const auto& [id, control] : task["controls"].items()) {
    if (control.is_null())
      text += fmt::format("  {:<18} not possible: the heads are not named, or too many\n", id);
    else if (id == "identity")
      text += fmt::format("  {:<18} {} items differ\n", id, control.at("items_that_differ").get<int>());
    else if (id == "random-heads")
      text += fmt::format("  {:<18} better than {:.0f} % of {} sets ({} items)\n", id,
                          100 * control.at("percentile").get<double>(), control.at("draws").get<int>(),
                          control.at("n").get<int>());
    else
      text += fmt::format("  {:<18} {:>+6.1f} [{:+.1f}, {:+.1f}]{}\n", id, 100 * control.at("difference").get<double>(),
                          100 * control.at("low").get<double>(), 100 * control.at("high").get<double>(),
                          control.contains("tau") ? fmt::format("   tau {:.3f}{}", control["tau"].get<double>(),
                                                                control["matched"].get<bool>() ? "" : ", not matched")
                                                  : "");
  }
  return text;
}

std::string harm_line(std::string_view title, const Json& harm) {
  if (harm.is_null()) return fmt::format("  {:<6} acts on words of the items only\n", title);
  const auto number = [&](const char* key) {
    return harm.at(key).is_null() ? std::string("-") : fmt::format("{:.3f}", harm.at(key).get<double>());
  };
  return fmt::format("  {:<6} perplexity {}, induction loss {}, repetition {}\n", title, number("perplexity"),
                     number("induction_loss"), number("repetition"));
}

std::string result_text(const Json& result) {
  std::string text = fmt::format("{}, split {}, seed {}\n\n", result.at("model").at("name").get<std::string>(),
                                 result.at("parameters").at("split").get<std::string>(),
                                 result.at("parameters").at("seed").get<int>());
  const bool compared = !result.at("interventions").empty();
  text += fmt::format("{:<14} {:>5} {:>6} {:>12}", "task", "items", "chance", "accuracy %");
  text += compared ? fmt::format(" {:>6} {:>6} {:<14} {:>6} {:>8} {:>8}\n", "new", "change", "95 % interval", "q",
                                 "margin", "KL")
                   : "\n";
  for (const Json& task : result.at("tasks")) text += task_line(task);
  for (const Json& task : result.at("tasks")) text += control_lines(task);
  if (result.contains("harm")) {
    text += "\nneutral text and repeats\n";
    for (const auto& [title, harm] : result["harm"].items()) text += harm_line(title, harm);
  }
  return text;
}

void evaluate(Invocation& invocation, EvalOptions& options) {
  if (options.common.output.empty())
    throw Error(Errc::invalid_argument, "an output file is missing",
                {.file = {}, .field = "--out", .offset = {}, .hint = "for example -o eval.json"});
  const auto choices = parse_tasks(options.common.tasks);
  check_output_path(options.common.output, options.common.force);
  if (!options.items_file.empty()) check_output_path(options.items_file, options.common.force);
  const intervention::Stack stack = load_interventions(options.common.model);
  const auto engine = load_cpu_engine(options.common.model);
  check_output_is_new(options.common.output, engine->model(), {});
  const auto begin = std::chrono::steady_clock::now();
  const EvaluationInputs inputs = make_evaluation_inputs(engine->model());
  const auto runner = engine::make_model_runner(*engine);

  EvalRun run(invocation, options, *engine, *runner, inputs, stack);
  Json document = {
      {"schema", "headlight.eval/1"},         {"tool", {{"name", "headlight"}, {"version", version()}}},
      {"model", model_json(runner->model())}, {"parameters", parameters_of(options, inputs.lexicon, stack)},
      {"interventions", stack_json(stack)},   {"tasks", Json::array()}};
  for (const TaskChoice& choice : choices) document["tasks"].push_back(run.task(choice));
  analysis::add_false_discovery(document["tasks"]);
  if (!options.no_harm) document["harm"] = run.harm();
  formats::check_unchanged(engine->model());
  document["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  if (!options.items_file.empty()) run.write_items();
  OutputFile file(options.common.output, options.common.force);
  file.write(dump_json(document) + "\n");
  file.commit();
  run.finish();
  if (invocation.json)
    print_json(invocation, {options.common.model.model}, document);
  else
    print_text(result_text(document) +
               fmt::format("\n{}: {:.0f} s\n", options.common.output, document["seconds"].get<double>()));
}

}  // namespace

Verb eval_verb() {
  return {.name = "eval",
          .summary = "Ask a model made-up tasks, without and with interventions, and say what changed",
          .examples = {"headlight eval smollm2-135m --task topic,facts --n 200 -o eval.json",
                       "headlight eval smollm2-135m --task T4:20 --intervention zero.json -o eval.json"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<EvalOptions>();
            const char* group = "Evaluation";
            add_task_options(app, options->common, group);
            add_intervention_option(app, options->common.model);
            const auto count = [&](const char* name, std::int64_t& value, const char* help) {
              app.add_option(name, value, help)
                  ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
                  ->type_name("N")
                  ->capture_default_str()
                  ->group(group);
            };
            app.add_option("--n", options->n, "Items of each task")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
                ->type_name("N")
                ->capture_default_str()
                ->group(group);
            app.add_option("--split", options->split, "Words and frames that items are made of")
                ->check(CLI::IsMember({"calibration", "selection", "test"}))
                ->capture_default_str()
                ->group(group);
            count("--draws", options->draws, "Random sets of heads that the intervention is compared with");
            count("--control-n", options->control_items, "Items that they are scored on; 0 = all");
            app.add_flag("--no-controls", options->no_controls, "Only before and after")->group(group);
            app.add_flag("--no-harm", options->no_harm, "Without perplexity, induction and repetition")->group(group);
            app.add_option("--items", options->items_file, "Every item with its scores, a line each")
                ->type_name("FILE.jsonl")
                ->group(group);
            return [=](Invocation& invocation) { evaluate(invocation, *options); };
          }};
}

}  // namespace headlight::cli
