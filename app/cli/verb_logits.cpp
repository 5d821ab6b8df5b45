#include <algorithm>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/intervention_input.h"
#include "app/cli/npy.h"
#include "app/cli/progress.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/largest_entries.h"

namespace headlight::cli {
namespace {

struct LogitsOptions {
  ModelOptions model;
  PromptOptions prompt;
  std::string output;
  bool last_only = false, force = false;
  int top = 10;
};

/// The `count` likeliest ids of one row with their natural log-probabilities.
Json top_predictions(std::span<const float> logits, int count, const formats::Tokenizer* tokenizer) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z - largest));
  Json list = Json::array();
  for (const std::int32_t id : largest_entries(logits, static_cast<std::size_t>(count))) {
    const float z = logits[static_cast<std::size_t>(id)];
    list.push_back(
        {{"id", id},
         {"piece",
          tokenizer != nullptr && id < tokenizer->vocab_size() ? formats::display_piece(tokenizer->piece(id)) : ""},
         {"logit", z},
         {"logprob", static_cast<double>(z - largest) - std::log(sum)}});
  }
  return list;
}

void logits(Invocation& invocation, const LogitsOptions& options) {
  if (!options.output.empty()) check_output_path(options.output, options.force);
  const auto engine = load_engine(options.model);
  check_output_is_new(options.output, engine->model(), options.prompt);
  const auto records = read_prompts(invocation, engine->model(), options.prompt);
  const auto ids = token_ids_of(records.front());
  const auto vocab = static_cast<std::size_t>(engine->spec().vocab_size);
  const bool all = !options.last_only && !options.output.empty();
  Buffer<float> values((all ? ids.size() : 1) * vocab);
  engine::Session session(*engine, read_interventions(options.model, records.front()));
  ProgressBar progress(invocation);
  session.forward(
      ids, values, [&](const engine::Progress& p) { progress.update(p.phase, p.done, p.total, p.tokens_done); },
      invocation.stop);
  progress.clear();
  formats::check_unchanged(engine->model());
  if (!options.output.empty())
    write_npy(options.output, values,
              {static_cast<std::int64_t>(values.size() / vocab), static_cast<std::int64_t>(vocab)}, options.force);
  const std::span<const float> last(values.data() + (values.size() - vocab), vocab);
  const Json top = top_predictions(last, options.top, engine->model().tokenizer.get());
  if (invocation.json) {
    print_json(invocation, {options.model.model},
               {{"shape", {values.size() / vocab, vocab}}, {"output", options.output}, {"last_top", top}});
    return;
  }
  std::string text =
      fmt::format("next token after {} tokens:\n{:>8} {:>9} {:>9}  piece\n", ids.size(), "id", "logit", "logprob");
  for (const auto& row : top)
    text += fmt::format("{:>8} {:>9.4f} {:>9.4f}  {}\n", row["id"].get<std::int64_t>(), row["logit"].get<double>(),
                        row["logprob"].get<double>(), row["piece"].get<std::string>());
  print_text(text);
}

}  // namespace

Verb logits_verb() {
  return {.name = "logits",
          .summary = "Logits of every position, or of the last one",
          .examples = {"headlight logits smollm2-135m -p 'The capital of France is'",
                       "headlight logits smollm2-135m -f text.txt -o logits.npy"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<LogitsOptions>();
            add_model_options(app, options->model);
            add_intervention_option(app, options->model);
            add_prompt_options(app, options->prompt, false);
            app.add_option("-o,--out", options->output, "Write float32 [N, V] (or [1, V]) as .npy")->type_name("FILE");
            app.add_flag("--last", options->last_only, "Only the last position");
            app.add_option("--top", options->top, "Predictions to print")
                ->check(CLI::Range(1, 1000))
                ->type_name("K")
                ->capture_default_str();
            app.add_flag("--force", options->force, "Overwrite the output");
            return [=](Invocation& invocation) { logits(invocation, *options); };
          }};
}

}  // namespace headlight::cli
