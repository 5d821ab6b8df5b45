// Does a score find the heads that matter? Removes the heads with the largest values of a score, and as many others of
// the same layers, and compares what the model can still do.
//
//     head-study MODEL --headplan headplan.json --score retrieval --task needles -o study.json

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/roles/ablation_study.h"
#include "analysis/roles/attention_influence.h"
#include "app/cli/role_inputs.h"
#include "base/error.h"
#include "base/file.h"
#include "core/engine/model_runner.h"
#include "core/formats/registry.h"
#include "core/heads/headplan.h"

namespace {

using namespace headlight;

struct Options {
  std::string model, headplan, score = "retrieval", task = "needles", output;
  std::vector<double> shares = {0.01, 0.03, 0.05, 0.10};
  analysis::NeedleTaskOptions needles;
  int draws = 20, threads = 0;
  std::uint64_t seed = 0;
  bool force = false;
};

/// Texts of every kind, ranked by how much they need the heads with the largest scores.
Json influence_of(const analysis::ExperimentContext& context, const heads::Headplan& plan,
                  std::span<const double> value_lh, double share) {
  constexpr std::size_t kTokens = 512;
  std::vector<std::vector<std::int32_t>> texts;
  std::vector<std::string> names;
  for (const auto& document : context.inputs.domains) {
    auto ids = context.inputs.codec.encode(document.text);
    ids.resize(std::min(ids.size(), kTokens));
    texts.push_back(std::move(ids));
    names.push_back(document.domain);
  }
  texts.push_back(analysis::repeated_sequence(context.inputs.pool, 200, context.inputs.seed, 0).ids);
  names.emplace_back("random repeats");
  const auto count = std::max(1LL, std::llround(share * static_cast<double>(plan.model.grid.size())));
  const auto chosen = analysis::top_heads(plan.model.grid, value_lh, static_cast<std::size_t>(count));
  const auto found = analysis::attention_influence(context, chosen, texts);
  Json json = {{"task", {{"task", "influence"}}}, {"share", share}, {"texts", Json::array()}};
  for (const auto id : chosen) json["heads"].push_back(heads::to_string(id));
  for (std::size_t k = 0; k < found.size(); ++k)
    json["texts"].push_back({{"text", names[k]},
                             {"tokens", texts[k].size()},
                             {"loss", found[k].loss},
                             {"loss_masked", found[k].loss_masked},
                             {"influence", found[k].influence}});
  return json;
}

void save(Json result, const Options& options, const heads::Headplan& plan) {
  result["schema"] = "headlight.head-study/1";
  result["model"] = plan.model.name;
  result["score"] = options.score;
  OutputFile file(options.output, true);
  file.write(dump_json(result) + "\n");
  file.commit();
}

void run(const Options& options) {
  check_output_path(options.output, options.force);
  const heads::Headplan plan = heads::load_headplan(options.headplan);
  const auto value_lh = plan.score_per_head(options.score);
  engine::Engine engine(formats::open_model(formats::resolve_model(options.model)), {.threads = options.threads});
  const auto runner = engine::make_model_runner(engine);
  analysis::RoleInputs inputs = cli::make_role_inputs(engine.model(), options.seed);
  // Nothing that the scores were made of: other needles, in other text; the loss is of the text that scoring hid them
  // in.
  if (inputs.codec) {
    inputs.needles = cli::load_ablation_needles();
    std::swap(inputs.haystack, inputs.documents.front().text);
  }
  const analysis::ExperimentContext context{*runner, inputs, {}};
  if (options.task == "influence") return save(influence_of(context, plan, value_lh, 0.05), options, plan);
  const auto task = options.task == "needles" ? analysis::make_needle_ablation(context, options.needles)
                                              : analysis::make_repeat_ablation(context);
  analysis::StudyOptions study;
  study.shares = options.shares;
  study.draws = options.draws;
  // Written anew after every evaluation: a study that is stopped has fewer draws.
  study.progress = [&](const analysis::AblationStudy& so_far, std::size_t done, std::size_t total) {
    std::fprintf(stderr, "\r%zu of %zu%s", done, total, done == total ? "\n" : "");
    Json result = analysis::to_json(so_far);
    result["task"] = task->describe();
    result["resolved"] = task->num_samples() >= 30 || options.task != "needles";
    save(std::move(result), options, plan);
  };
  analysis::run_ablation_study(*task, plan.model.grid, value_lh, study, options.seed, {});
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Remove the heads with the largest values of a score, and others of the same layers, and compare");
  app.add_option("MODEL", options.model, "Model file, folder or registry name")->required();
  app.add_option("--headplan", options.headplan, "Where the score is")->required();
  app.add_option("--score", options.score, "Score of the headplan")->capture_default_str();
  app.add_option("--task", options.task,
                 "needles, repeats, or influence: texts ranked by how much they need the top 5 %")
      ->check(CLI::IsMember({"needles", "repeats", "influence"}));
  app.add_option("--shares", options.shares, "Shares of all heads to remove")->delimiter(',');
  app.add_option("--draws", options.draws, "Random sets per share")->capture_default_str();
  app.add_option("--length", options.needles.length, "Tokens of a needle prompt")->capture_default_str();
  app.add_option("--candidates", options.needles.candidates, "Needle prompts tried")->capture_default_str();
  app.add_option("--counted", options.needles.most_counted, "Most needle prompts used")->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0 = all");
  app.add_option("--seed", options.seed, "Seed of the draws")->capture_default_str();
  app.add_option("-o,--out", options.output, "JSON")->required();
  app.add_flag("--force", options.force, "Overwrite");
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const Error& error) {
    std::fprintf(stderr, "head-study: %s\n", error.what());
    return exit_code(error.code());
  }
}
