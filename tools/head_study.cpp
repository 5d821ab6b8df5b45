// Does a score find the heads that matter? Removes the heads with the largest values of a score, and as many others of
// the same layers, and compares what the model can still do.
//
//     head-study MODEL --headplan headplan.json --score retrieval --task needles -o study.json

#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/roles/ablation_study.h"
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
  const auto task = options.task == "needles" ? analysis::make_needle_ablation(context, options.needles)
                                              : analysis::make_repeat_ablation(context);
  analysis::StudyOptions study;
  study.shares = options.shares;
  study.draws = options.draws;
  // Written anew after every evaluation: a study that is stopped has fewer draws.
  study.progress = [&](const analysis::AblationStudy& so_far, std::size_t done, std::size_t total) {
    std::fprintf(stderr, "\r%zu of %zu%s", done, total, done == total ? "\n" : "");
    Json result = analysis::to_json(so_far);
    result["model"] = plan.model.name;
    result["score"] = options.score;
    result["task"] = task->describe();
    result["resolved"] = task->num_samples() >= 30 || options.task != "needles";
    OutputFile file(options.output, true);
    file.write(dump_json(result) + "\n");
    file.commit();
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
  app.add_option("--task", options.task, "needles or repeats")->check(CLI::IsMember({"needles", "repeats"}));
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
