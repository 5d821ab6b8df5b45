#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/model_input.h"
#include "base/error.h"

namespace headlight::cli {
namespace {

struct GenerateOptions {
  ModelOptions model;
  PromptOptions prompt;
  engine::SamplingOptions sampling;
  std::int64_t max_new_tokens = 128;
  bool compare = false;
};

void generate_text(Invocation& invocation, const GenerateOptions& options) {
  if (options.compare)
    throw Error(Errc::unsupported, "comparing with an intervention is not in this version",
                {.file = {}, .field = "--compare", .offset = {}, .hint = {}});
  const auto engine = load_engine(options.model);
  const auto records = read_prompts(invocation, engine->model(), options.prompt);
  const formats::Tokenizer* tokenizer = engine->model().tokenizer.get();
  const auto ids = token_ids_of(records.front());

  // Streaming: bytes appear as soon as they are decided; a character split over tokens is completed by the next one.
  std::vector<engine::GeneratedToken> tokens;
  const auto on_token = [&](const engine::GeneratedToken& token) {
    tokens.push_back(token);
    if (invocation.json) return;
    if (tokenizer == nullptr)
      print_text(fmt::format("{} ", token.id));
    else if (token.id < tokenizer->vocab_size() && !tokenizer->is_special(token.id))
      print_text(tokenizer->piece(token.id));
  };
  try {
    engine::generate(*engine, ids, options.max_new_tokens, options.sampling, 0, on_token, invocation.stop);
  } catch (const Error& error) {
    if (error.code() != Errc::cancelled) throw;  // what came before a stop is a result
  }
  formats::check_unchanged(engine->model());
  if (!invocation.json) {
    print_text("\n");
  } else {
    std::vector<std::int32_t> new_ids;
    Json list = Json::array();
    for (const auto& token : tokens) {
      const bool known = tokenizer != nullptr && token.id < tokenizer->vocab_size();  // else a padded vocabulary
      if (known) new_ids.push_back(token.id);
      list.push_back({{"id", token.id},
                      {"piece", known ? formats::display_piece(tokenizer->piece(token.id)) : ""},
                      {"logprob", token.logprob},
                      {"entropy", token.entropy}});
    }
    print_json(invocation, {options.model.model},
               {{"num_prompt_tokens", ids.size()},
                {"text", tokenizer != nullptr ? tokenizer->decode(new_ids, true) : ""},
                {"tokens", list}});
  }
  if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, fmt::format("after {} new tokens", tokens.size()));
}

}  // namespace

Verb generate_verb() {
  return {.name = "generate",
          .summary = "Continue a text; prints tokens with log-probability and entropy",
          .examples = {"headlight generate smollm2-135m -p 'The capital of France is' --generate 16",
                       "headlight generate smollm2-135m --chat-file chat.json --temperature 0.7"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<GenerateOptions>();
            add_model_options(app, options->model);
            add_prompt_options(app, options->prompt, false);
            add_sampling_options(app, options->sampling);
            app.add_option("-n,--generate", options->max_new_tokens, "New tokens at most")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 22))
                ->type_name("N")
                ->capture_default_str();
            app.add_flag("--compare", options->compare, "Show base and changed continuation (not in this version)");
            return [=](Invocation& invocation) { generate_text(invocation, *options); };
          }};
}

}  // namespace headlight::cli
