#include "app/cli/evaluation_inputs.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/role_inputs.h"
#include "base/error.h"
#include "base/file.h"
#include "core/formats/registry.h"

namespace headlight::cli {
namespace {

constexpr std::uint64_t kLargestNeutralText = 16u << 20;

analysis::Lexicon load_lexicon() {
  const std::string path = (formats::data_folder() / "tasks" / "words.json").string();
  try {
    return analysis::Lexicon(load_json(path));
  } catch (const Error& error) {
    throw error.in_file(path);
  }
}

analysis::TaskCodec task_codec(const formats::Tokenizer& tokenizer) {
  analysis::TaskCodec codec;
  if (tokenizer.adds_bos()) codec.bos = tokenizer.bos_id();
  codec.encode = [&tokenizer](std::string_view text) {
    analysis::TaskCodec::Tokens out;
    for (const auto& token :
         tokenizer.encode(text, {.add_special = false, .parse_special = false, .literal = {}}).tokens) {
      out.ids.push_back(token.id);
      out.places.push_back({token.byte_begin, token.byte_end});
    }
    return out;
  };
  return codec;
}

}  // namespace

std::vector<TaskChoice> parse_tasks(const std::vector<std::string>& names) {
  std::vector<TaskChoice> choices;
  for (const std::string& name : names) {
    const auto colon = name.find(':');
    const analysis::Task& task = analysis::require_task(name.substr(0, colon));
    for (const TaskChoice& other : choices)
      if (other.task == &task)
        throw Error(Errc::invalid_argument, fmt::format("task '{}' is given twice", task.id),
                    {.file = {}, .field = "--task", .offset = {}, .hint = {}});
    choices.push_back(
        {&task, colon == std::string::npos ? std::string(task.variants.front()) : name.substr(colon + 1)});
  }
  if (choices.empty())
    throw Error(Errc::invalid_argument, "no task is given",
                {.file = {}, .field = "--task", .offset = {}, .hint = "for example --task topic,facts"});
  return choices;
}

std::vector<analysis::TaskItem> EvaluationInputs::items(const TaskChoice& choice, analysis::Split split,
                                                        std::size_t count, std::uint64_t seed) const {
  return analysis::make_items(*choice.task, choice.variant, lexicon, split, count, seed, tokens, codec.bos);
}

EvaluationInputs make_evaluation_inputs(const formats::ModelFile& model) {
  const analysis::RoleInputs roles = make_role_inputs(model, 0);
  EvaluationInputs inputs{.lexicon = load_lexicon(), .codec = {}, .spare_bos = {}, .tokens = {}, .text = {}};
  inputs.tokens = roles.pool.eligible;
  if (model.tokenizer) {
    inputs.codec = task_codec(*model.tokenizer);
    inputs.spare_bos = model.tokenizer->bos_id();
    inputs.text =
        roles.codec.encode(read_text_file(formats::data_folder() / "text" / "genesis.txt", kLargestNeutralText));
  } else {
    inputs.codec.bos = roles.pool.bos;
  }
  return inputs;
}

void add_task_options(CLI::App& app, TaskOptions& options, const char* group) {
  add_model_options(app, options.model);
  std::string known;
  for (const analysis::Task& task : analysis::tasks())
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", task.id, task.number);
  app.add_option("--task", options.tasks,
                 "Tasks, separated by commas, by id or number, with :VARIANT where there are "
                 "several: " +
                     known)
      ->delimiter(',')
      ->type_name("LIST")
      ->group(group);
  app.add_option("-o,--out", options.output, "Output file")->type_name("FILE.json")->group(group);
  app.add_option("--seed", options.seed, "Seed of items, draws and resamples")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 53))
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_flag("--restart", options.restart, "Forget what an interrupted run found")->group(group);
  app.add_flag("--force", options.force, "Overwrite the output")->group(group);
}

std::unique_ptr<engine::Engine> load_cpu_engine(ModelOptions& options) {
  if (options.device == "auto") options.device = "cpu";
  return load_engine(options);
}

Json model_json(const capture::ModelInfo& model) {
  return {{"name", model.name},
          {"arch", model.architecture},
          {"L", model.num_layers},
          {"H", model.num_heads},
          {"G", model.num_kv_heads},
          {"d", model.head_dim},
          {"config_sha256", sha256_hex(model.config_json)}};
}

}  // namespace headlight::cli
