// Which heads move a name (or any token) from where it stands to where it is wanted: direct logit attribution, copying.

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/roles/logit_attribution.h"
#include "analysis/roles/model_maps.h"
#include "analysis/undefined.h"
#include "base/split_mix.h"

namespace headlight::analysis {
namespace {

constexpr std::size_t kPrompts = 32, kCopySample = 256, kTopLogits = 5;
constexpr std::int64_t kNamesPeriod = 24;

/// A prompt whose next token stands in it once.
struct NamePrompt {
  std::vector<std::int32_t> ids;
  std::int64_t answer = 0;  ///< position
  std::int32_t target = 0, foil = 0;
};

/// Names that are one token after a space.
std::vector<std::string> short_names(const RoleInputs& inputs) {
  std::vector<std::string> names;
  for (const std::string& name : inputs.names)
    if (inputs.codec.encode(" " + name).size() == 1) names.push_back(name);
  return names;
}

std::string filled(std::string text, const std::string& gap, const std::string& name) {
  for (std::size_t at = text.find(gap); at != std::string::npos; at = text.find(gap, at + name.size()))
    text.replace(at, gap.size(), name);
  return text;
}

/// "When A and B went to the store, B gave a drink to": the token of A must follow, not that of B.
NamePrompt text_prompt_with_names(const RoleInputs& inputs, std::size_t item) {
  std::vector<std::string> names = short_names(inputs);
  SplitMix64 random = SplitMix64::stream(inputs.seed, "names", item);
  random.shuffle(names);
  const std::string text =
      filled(filled(inputs.name_templates[item % inputs.name_templates.size()], "{A}", names[0]), "{B}", names[1]);
  NamePrompt prompt;
  if (inputs.pool.bos) prompt.ids.push_back(*inputs.pool.bos);
  const auto ids = inputs.codec.encode(text);
  prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
  prompt.target = inputs.codec.encode(" " + names[0])[0];
  prompt.foil = inputs.codec.encode(" " + names[1])[0];
  prompt.answer = std::find(prompt.ids.begin(), prompt.ids.end(), prompt.target) - prompt.ids.begin();
  return prompt;
}

/// [BOS] r_1..r_m r_1..r_{m/2}: r_{m/2 + 1} must follow, not r_1.
NamePrompt repeat_prompt(const RoleInputs& inputs, std::size_t item) {
  const RepeatedSequence repeat = repeated_sequence(inputs.pool, kNamesPeriod, inputs.seed, item);
  const std::int64_t begin = std::ssize(repeat.ids) - 2 * repeat.period, half = repeat.period / 2;
  NamePrompt prompt;
  prompt.ids.assign(repeat.ids.begin(), repeat.ids.begin() + begin + repeat.period + half);
  prompt.answer = begin + half;
  prompt.target = prompt.ids[static_cast<std::size_t>(prompt.answer)];
  prompt.foil = prompt.ids[static_cast<std::size_t>(begin)];
  return prompt;
}

/// The prompts, and one item that asks what heads copy.
std::vector<ExperimentItem> name_items(const RoleInputs& inputs, const capture::ModelInfo&) {
  std::vector<ExperimentItem> out;
  if (!inputs.logit_reader || inputs.pool.eligible.size() < 8) return out;
  if (inputs.codec && (inputs.name_templates.empty() || short_names(inputs).size() < 4)) return out;
  for (std::size_t k = 0; k < kPrompts; ++k) out.push_back({std::to_string(k), "prompts"});
  out.push_back({"copying", "copying"});
  return out;
}

RunRequest request_with_values(const capture::ModelInfo& model) {
  RunRequest request;
  request.plan = capture::plan_of_all_heads(model.num_layers, model.num_heads, capture::CaptureLevel::replay);
  request.plan.overview = false;
  request.plan.topk_rows = 0;
  request.plan.logits = capture::LogitsKept::none;
  return request;
}

HeadSample run_prompt(const ExperimentContext& context, std::size_t item) {
  const RoleInputs& inputs = context.inputs;
  const LogitReader& reader = *inputs.logit_reader;
  const capture::ModelInfo& model = context.runner.model();
  const NamePrompt prompt = inputs.codec ? text_prompt_with_names(inputs, item) : repeat_prompt(inputs, item);
  const std::int64_t n = std::ssize(prompt.ids);
  RunRequest request = request_with_values(model);
  request.plan.hidden_states = true;
  request.inputs.push_back({.ids = prompt.ids, .generate = 0, .targets = {}, .logit_rows = {-1}});
  const RunResult result = context.runner.run(request, context.stop);

  std::vector<std::vector<float>> attn_hj;
  HeadValues at_answer;
  for_each_map(context, *result.capture, n - 1, n, [&](std::size_t, std::span<const float> attn_j) {
    attn_hj.emplace_back(attn_j.begin(), attn_j.end());
    at_answer.push_back(std::max_element(attn_j.begin(), attn_j.end()) - attn_j.begin() == prompt.answer ? 1.0 : 0.0);
  });
  std::vector<float> x_d(static_cast<std::size_t>(model.hidden_size));
  result.capture->read_states(0, model.num_layers, n - 1, n, x_d.data());
  const auto& logits = result.outputs[0].logits;
  const double difference = static_cast<double>(logits[static_cast<std::size_t>(prompt.target)]) -
                            static_cast<double>(logits[static_cast<std::size_t>(prompt.foil)]);
  HeadSample sample{.group = "prompts", .counted = difference > 0, .scores = {}, .facts = {}};
  sample.facts = {{"logit_difference", difference}};
  sample.scores = {{"logit-attribution",
                    logit_attribution(*result.capture, 0, reader, reader.direction(prompt.target, {{prompt.foil}}),
                                      reader.norm_scale(x_d), attn_hj)},
                   {"looks-at-answer", std::move(at_answer)}};
  return sample;
}

/// Tokens of the copy test, and where each stands in its prompt of one or two tokens.
std::vector<std::int32_t> copied_tokens(const RoleInputs& inputs) {
  std::vector<std::int32_t> ids = inputs.pool.eligible;
  SplitMix64 random = SplitMix64::stream(inputs.seed, "copying", 0);
  random.shuffle(ids);
  ids.resize(std::min(ids.size(), kCopySample));
  std::sort(ids.begin(), ids.end());
  return ids;
}

HeadSample run_copying(const ExperimentContext& context) {
  const RoleInputs& inputs = context.inputs;
  const LogitReader& reader = *inputs.logit_reader;
  const capture::ModelInfo& model = context.runner.model();
  const auto tokens = copied_tokens(inputs);
  const std::size_t count = tokens.size(), dim = static_cast<std::size_t>(model.head_dim);
  const auto first = inputs.pool.bos.value_or(inputs.pool.eligible.front());
  RunRequest request = request_with_values(model);
  std::vector<double> direction_nd;
  for (const std::int32_t token : tokens) {
    request.inputs.push_back({.ids = {first, token}, .generate = 0, .targets = {}, .logit_rows = {}});
    const auto direction = reader.direction(token, {});
    direction_nd.insert(direction_nd.end(), direction.begin(), direction.end());
  }
  const RunResult result = context.runner.run(request, context.stop);
  HeadValues copies, opposes;
  std::vector<float> v(dim);
  for (int l = 0; l < model.num_layers; ++l) {
    const auto read_nhd = reader.through_output(l, direction_nd);
    const std::size_t width = read_nhd.size() / count;
    for (int h = 0; h < model.num_heads; ++h) {
      double up = 0, down = 0;
      std::vector<double> logit_n(count), against_n(count);
      for (std::size_t t = 0; t < count; ++t) {
        result.capture->read_v(static_cast<std::int64_t>(t), l, h * model.num_kv_heads / model.num_heads, 1, 2,
                               v.data());
        for (std::size_t n = 0; n < count; ++n) {
          const double* read_d = read_nhd.data() + n * width + static_cast<std::size_t>(h) * dim;
          double dot = 0;
          for (std::size_t k = 0; k < dim; ++k) dot += read_d[k] * static_cast<double>(v[k]);
          logit_n[n] = dot;
          against_n[n] = -dot;
        }
        up += rank_of(logit_n, t) < kTopLogits;
        down += rank_of(against_n, t) < kTopLogits;
      }
      copies.push_back(up / static_cast<double>(count));
      opposes.push_back(down / static_cast<double>(count));
    }
  }
  HeadSample sample{.group = "copying", .counted = true, .scores = {}, .facts = {{"tokens", count}}};
  sample.scores = {{"copy-score", std::move(copies)}, {"negative-copy-score", std::move(opposes)}};
  return sample;
}

HeadSample run_names(const ExperimentContext& context, std::size_t item) {
  return item < kPrompts ? run_prompt(context, item) : run_copying(context);
}

std::vector<HeadValues> derive_movers(std::span<const HeadSample> samples, const capture::ModelInfo& model) {
  const auto mean = [&](std::string_view id) { return summarize(id, samples, 0).mean; };
  HeadValues attribution = mean("logit-attribution");
  const HeadValues at_answer = mean("looks-at-answer"), copies = mean("copy-score"),
                   opposes = mean("negative-copy-score");
  if (attribution.empty() || copies.empty()) {
    const HeadValues unknown(num_heads_of(model), kUndefined);
    return {unknown, unknown};
  }
  const auto movers = name_movers(attribution, at_answer, copies);
  for (double& value : attribution) value = -value;
  return {movers, name_movers(attribution, at_answer, opposes)};
}

}  // namespace

Experiment names_experiment() {
  return {
      .id = "name-movers",
      .title = "Heads that bring a name to where it is wanted",
      .source = "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small",
      .by_default = false,
      .scores = {{"logit-attribution", "part of logit(answer) - logit(other) that the head's output adds, last row"},
                 {"looks-at-answer", "share of prompts in which the largest weight of the last row is on the answer"},
                 {"copy-score",
                  "share of tokens v that are among the 5 largest logits, of those sampled, when the head looks at v "
                  "alone"},
                 {"negative-copy-score", "share that are among the 5 smallest"}},
      .derived = {{"name-mover",
                   "1 = attribution among the largest 5 % and positive, copy-score >= 0.5, looks-at-answer >= 0.5"},
                  {"negative-name-mover",
                   "1 = attribution among the smallest 5 % and negative, negative-copy-score >= 0.5, looks-at-answer "
                   ">= 0.5"}},
      .params = [](const RoleInputs& inputs, const capture::ModelInfo&) -> Json {
        return {{"prompts", kPrompts},
                {"kind", inputs.codec ? "two names" : "random repeats"},
                {"copied_tokens", std::min(inputs.pool.eligible.size(), kCopySample)}};
      },
      .items = name_items,
      .run = run_names,
      .derive = derive_movers};
}

}  // namespace headlight::analysis
