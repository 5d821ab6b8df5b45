#include <algorithm>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/intervention_input.h"
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

using Tokens = std::vector<engine::GeneratedToken>;

/// What one run of the model is told and printed with.
class Continuation {
 public:
  Continuation(Invocation& invocation, const GenerateOptions& options, engine::Engine& engine,
               const capture::RecordHeader& prompt)
      : invocation_(invocation),
        options_(options),
        engine_(engine),
        tokenizer_(engine.model().tokenizer.get()),
        ids_(token_ids_of(prompt)) {}

  /// Streaming: bytes appear as soon as they are decided; a character split over tokens is completed by the next one.
  Tokens run(const Changes& changes) {
    Tokens tokens;
    const auto on_token = [&](const engine::GeneratedToken& token) {
      tokens.push_back(token);
      ++num_tokens_;
      if (!invocation_.json) print_token(token.id);
    };
    try {
      engine::generate(engine_, ids_, options_.max_new_tokens, options_.sampling, 0, on_token, invocation_.stop,
                       changes.interventions, changes.contrast ? &*changes.contrast : nullptr);
    } catch (const Error& error) {
      if (error.code() != Errc::cancelled) throw;  // what came before a stop is a result
    }
    if (!invocation_.json) print_text("\n");
    return tokens;
  }

  /// KL(base || changed) of the first new token, nats.
  double divergence(const Changes& changes) {
    const auto vocab = static_cast<std::size_t>(engine_.spec().vocab_size);
    std::vector<float> base(vocab), changed(vocab);
    engine::Session(engine_).forward(ids_, base, {}, invocation_.stop);
    engine::Session(engine_, changes.interventions).forward(ids_, changed, {}, invocation_.stop);
    if (changes.contrast) {
      std::vector<std::vector<float>> branches;
      for (const auto& branch : changes.contrast->branches)
        engine::Session(engine_, branch.interventions)
            .forward(ids_, branches.emplace_back(vocab), {}, invocation_.stop);
      intervention::Contrast uncut = *changes.contrast;
      uncut.cutoff = 0.0;  // a token that is cut would make the divergence infinite
      intervention::combine_logits(uncut, changed, branches);
    }
    const double base_sum = log_sum(base), changed_sum = log_sum(changed);
    double sum = 0.0;
    for (std::size_t v = 0; v < vocab; ++v) {
      const double p = static_cast<double>(base[v]) - base_sum, q = static_cast<double>(changed[v]) - changed_sum;
      sum += std::exp(p) * (p - q);
    }
    return sum;
  }

  std::size_t num_tokens() const { return num_tokens_; }  ///< of all runs

  Json to_json(const Tokens& tokens) const {
    std::vector<std::int32_t> new_ids;
    Json list = Json::array();
    for (const auto& token : tokens) {
      const bool known = tokenizer_ != nullptr && token.id < tokenizer_->vocab_size();  // else a padded vocabulary
      if (known) new_ids.push_back(token.id);
      list.push_back({{"id", token.id},
                      {"piece", known ? formats::display_piece(tokenizer_->piece(token.id)) : ""},
                      {"logprob", token.logprob},
                      {"entropy", token.entropy}});
    }
    return {{"num_prompt_tokens", ids_.size()},
            {"text", tokenizer_ != nullptr ? tokenizer_->decode(new_ids, true) : ""},
            {"tokens", list}};
  }

 private:
  void print_token(std::int32_t id) const {
    if (tokenizer_ == nullptr)
      print_text(fmt::format("{} ", id));
    else if (id < tokenizer_->vocab_size() && !tokenizer_->is_special(id))
      print_text(tokenizer_->piece(id));
  }

  static double log_sum(const std::vector<float>& logits) {
    const double top = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    double sum = 0.0;
    for (const float z : logits) sum += std::exp(static_cast<double>(z) - top);
    return top + std::log(sum);
  }

  Invocation& invocation_;
  const GenerateOptions& options_;
  engine::Engine& engine_;
  const formats::Tokenizer* tokenizer_;
  std::vector<std::int32_t> ids_;
  std::size_t num_tokens_ = 0;
};

std::size_t first_difference(const Tokens& a, const Tokens& b) {
  const auto same = [](const auto& x, const auto& y) { return x.id == y.id; };
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end(), same).first - a.begin());
}

Json compare(Invocation& invocation, Continuation& continuation, const Changes& changes) {
  if (!invocation.json) print_text("base:    ");
  const Tokens base = continuation.run({});
  if (!invocation.json) print_text("changed: ");
  const Tokens changed = continuation.run(changes);
  const std::size_t same = first_difference(base, changed);
  const double kl = continuation.divergence(changes);
  if (!invocation.json)
    print_text(fmt::format("the first {} of {} new tokens agree; KL(base || changed) of the first one: {:.6g} nat\n",
                           same, base.size(), kl));
  return {{"base", continuation.to_json(base)},
          {"changed", continuation.to_json(changed)},
          {"num_same_tokens", same},
          {"first_token_kl", kl}};
}

void generate_text(Invocation& invocation, const GenerateOptions& options) {
  if (options.compare && options.model.interventions.empty())
    throw Error(Errc::invalid_argument, "there is nothing to compare with",
                {.file = {}, .field = "--compare", .offset = {}, .hint = "give --intervention FILE"});
  const auto engine = load_engine(options.model);
  const auto records = read_prompts(invocation, engine->model(), options.prompt);
  const Changes changes = read_changes(options.model, records.front());
  Continuation continuation(invocation, options, *engine, records.front());
  const Json result =
      options.compare ? compare(invocation, continuation, changes) : continuation.to_json(continuation.run(changes));
  formats::check_unchanged(engine->model());
  if (invocation.json) print_json(invocation, {options.model.model}, result);
  if (invocation.stop.stop_requested())
    throw Error(Errc::cancelled, fmt::format("after {} new tokens", continuation.num_tokens()));
}

}  // namespace

Verb generate_verb() {
  return {.name = "generate",
          .summary = "Continue a text; prints tokens with log-probability and entropy",
          .examples = {"headlight generate smollm2-135m -p 'The capital of France is' --generate 16",
                       "headlight generate smollm2-135m --chat-file chat.json --temperature 0.7",
                       "headlight generate smollm2-135m -p 'Hello' --intervention sinks.json --compare"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<GenerateOptions>();
            add_model_options(app, options->model);
            add_intervention_option(app, options->model);
            add_prompt_options(app, options->prompt, false);
            add_sampling_options(app, options->sampling);
            app.add_option("-n,--generate", options->max_new_tokens, "New tokens at most")
                ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 22))
                ->type_name("N")
                ->capture_default_str();
            app.add_flag("--compare", options->compare, "Show the continuation without and with --intervention");
            return [=](Invocation& invocation) { generate_text(invocation, *options); };
          }};
}

}  // namespace headlight::cli
