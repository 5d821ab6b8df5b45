#include "analysis/evaluation/evaluation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::size_t kMatchedItems = 64;  ///< that the tau of the temperature control is found on

double entropy_of(std::span<const double> shares) {
  double entropy = 0;
  for (const double p : shares)
    if (p > 0) entropy -= p * std::log(p);
  return entropy;
}

Json interval_json(const Interval& interval) {
  return {{"difference", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

std::vector<std::uint8_t> right_of(std::span<const Verdict> verdicts) {
  std::vector<std::uint8_t> right;
  for (const Verdict& verdict : verdicts) right.push_back(verdict.right ? 1 : 0);
  return right;
}

std::vector<double> numbers_of(std::span<const Verdict> verdicts, double (*number)(const Verdict&)) {
  std::vector<double> numbers;
  for (const Verdict& verdict : verdicts) numbers.push_back(number(verdict));
  return numbers;
}
double right_number(const Verdict& verdict) {
  return verdict.right ? 1.0 : 0.0;
}
double margin_number(const Verdict& verdict) {
  return verdict.margin;
}

double accuracy_of(std::span<const Verdict> verdicts) {
  const auto right = std::count_if(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.right; });
  return static_cast<double>(right) / static_cast<double>(verdicts.size());
}

Json scores_json(const std::vector<Arm>& arms, const std::vector<std::vector<OptionScores>>& scores) {
  Json json = Json::object();
  for (std::size_t a = 0; a < arms.size(); ++a) {
    json[arms[a].id] = Json::array();
    for (const OptionScores& score : scores[a]) json[arms[a].id].push_back(to_json(score));
  }
  return json;
}

/// The other way to begin: with a first token where the model expects none, and the other way round.
std::vector<PreparedItem> toggle_bos(std::span<const PreparedItem> items, const TaskCodec& codec,
                                     std::optional<std::int32_t> spare) {
  std::vector<PreparedItem> toggled;
  for (PreparedItem item : items) {
    if (codec.bos && item.input.ids.size() > 1) {
      item.input.ids.erase(item.input.ids.begin());
      item.places.erase(item.places.begin());
    } else if (!codec.bos && spare) {
      item.input.ids.insert(item.input.ids.begin(), *spare);
      item.places.insert(item.places.begin(), intervention::TokenPlace{});
    } else {
      return {};
    }
    toggled.push_back(std::move(item));
  }
  return toggled;
}

}  // namespace

std::vector<Verdict> verdicts_of(std::span<const PreparedItem> items, std::span<const OptionScores> scores,
                                 ScoreForm form, std::span<const std::vector<double>> neutral) {
  HEADLIGHT_CHECK(scores.size() <= items.size());
  std::vector<Verdict> verdicts;
  for (std::size_t k = 0; k < scores.size(); ++k)
    verdicts.push_back(
        verdict_of(option_values(items[k], scores[k], form, neutral.empty() ? std::span<const double>{} : neutral[k]),
                   items[k].item->gold));
  return verdicts;
}

ArmSummary summarize_arm(std::span<const PreparedItem> items, std::span<const Verdict> verdicts,
                         std::span<const OptionScores> scores) {
  ArmSummary out;
  out.n = verdicts.size();
  if (out.n == 0) return out;
  const auto n = static_cast<double>(out.n);
  std::vector<double> asked;
  for (std::size_t k = 0; k < verdicts.size(); ++k) {
    const Verdict& verdict = verdicts[k];
    const std::size_t gold = items[k].item->gold, options = items[k].input.continuations.size();
    if (out.chosen.size() < options) {
      out.chosen.resize(options);
      out.gold_accuracy.resize(options);
      asked.resize(options);
    }
    out.accuracy += verdict.right / n;
    out.ties += verdict.tied;
    out.margin += verdict.margin / n;
    out.brier += verdict.brier / n;
    out.option_entropy += verdict.option_entropy / n;
    out.entropy += scores[k].entropy / n;
    out.divergence += scores[k].divergence / n;
    out.chosen[verdict.chosen] += 1.0 / n;
    out.gold_accuracy[gold] += verdict.right;
    asked[gold] += 1.0;
  }
  for (std::size_t c = 0; c < asked.size(); ++c) out.gold_accuracy[c] /= std::max(1.0, asked[c]);
  out.accuracy_se = std::sqrt(std::max(0.0, out.accuracy * (1.0 - out.accuracy)) / n);  // a mean of ones may be above 1
  out.chosen_entropy = entropy_of(out.chosen);
  return out;
}

Json to_json(const ArmSummary& summary) {
  return {{"n", summary.n},
          {"accuracy", summary.accuracy},
          {"accuracy_se", summary.accuracy_se},
          {"ties", summary.ties},
          {"margin", summary.margin},
          {"brier", summary.brier},
          {"option_entropy", summary.option_entropy},
          {"entropy", summary.entropy},
          {"kl", summary.divergence},
          {"chosen", summary.chosen},
          {"chosen_entropy", summary.chosen_entropy},
          {"accuracy_by_gold", summary.gold_accuracy}};
}

TaskEvaluation::TaskEvaluation(const Task& task, std::vector<TaskItem> items, const TaskCodec& codec,
                               std::optional<std::int32_t> spare_bos, const intervention::Stack& stack,
                               const heads::HeadGrid& grid, const EvaluationOptions& options)
    : task_(task),
      items_(std::move(items)),
      codec_(codec),
      stack_(stack),
      grid_(grid),
      options_(options),
      form_(primary_form(task)) {
  prepared_ = prepare_items(items_, codec_);
  if (!prepared_.empty() && !stack_.empty()) (void)stack_of_item({"new", stack_}, prepared_.front(), 0);
  chunks_ = chunks_of(prepared_);
  if (stack_.empty() || !options_.controls) return;
  toggled_ = toggle_bos(prepared_, codec_, spare_bos);
  for (std::size_t draw = 0; draw < options_.draws; ++draw) {
    SplitMix64 random = SplitMix64::stream(options_.seed, "random-heads", draw);
    auto drawn = on_random_heads(stack_, grid_, random);
    if (!drawn) break;
    random_.push_back(std::move(*drawn));
  }
}

Json TaskEvaluation::run(ModelRunner& runner, std::size_t part, std::span<const Json> done,
                         std::stop_token stop) const {
  if (part == 0) return shared_part(runner, stop);
  return chunk_part(runner, part - 1, done[0], stop);
}

Json TaskEvaluation::shared_part(ModelRunner& runner, std::stop_token stop) const {
  Json part = Json::object();
  part["neutral"] = neutral_scores(runner, prepared_, codec_, stop);
  if (stack_.empty() || !options_.controls) return part;
  const auto some = std::span(prepared_).first(std::min(kMatchedItems, prepared_.size()));
  const MatchedTemperature found = match_temperature(runner, some, stack_, stop);
  part["temperature"] = {{"tau", found.tau},
                         {"matched", found.matched},
                         {"items", some.size()},
                         {"entropy_change_wanted", found.wanted},
                         {"entropy_change_reached", found.reached}};
  return part;
}

std::vector<Arm> TaskEvaluation::arms_of(std::size_t first_item, const Json& shared) const {
  std::vector<Arm> arms = {{.id = "base", .stack = {}}};
  if (stack_.empty()) return arms;
  arms.push_back({.id = "new", .stack = stack_});
  if (!options_.controls) return arms;
  if (options_.control_items == 0 || first_item < options_.control_items)
    for (std::size_t draw = 0; draw < random_.size(); ++draw)
      arms.push_back({.id = fmt::format("random-heads-{}", draw), .stack = random_[draw]});
  if (acts_on_first_token(stack_)) arms.push_back(on_random_token(stack_, options_.seed));
  if (const auto wrong = on_wrong_span(stack_)) arms.push_back({.id = "wrong-span", .stack = *wrong});
  arms.push_back(
      {.id = "temperature", .stack = temperature_instead(stack_, grid_, json_number(shared.at("temperature"), "tau"))});
  return arms;
}

Json TaskEvaluation::chunk_part(ModelRunner& runner, std::size_t chunk, const Json& shared,
                                std::stop_token stop) const {
  const auto [begin, end] = chunks_[chunk];
  const auto items = std::span(prepared_).subspan(begin, end - begin);
  const auto arms = arms_of(begin, shared);
  const auto scores = score_items(runner, items, arms, begin, stop);
  Json part = {{"scores", scores_json(arms, scores)}};
  if (stack_.empty() || !options_.controls) return part;
  // Alone, so that nothing of the pass before is used again.
  const Arm identity{.id = "identity", .stack = identity_of(stack_)};
  const auto same = score_items(runner, items, std::span(&identity, 1), begin, stop)[0];
  std::size_t differing = 0;
  for (std::size_t k = 0; k < same.size(); ++k) differing += same[k].sum != scores[0][k].sum;
  part["identity_differs"] = differing;
  if (toggled_.empty()) return part;
  const std::vector<Arm> two = {arms[0], arms[1]};
  part["toggled"] =
      scores_json(two, score_items(runner, std::span(toggled_).subspan(begin, end - begin), two, begin, stop));
  return part;
}

TaskEvaluation::Scores TaskEvaluation::gathered(std::span<const Json> parts, std::string_view member) const {
  Scores scores;
  for (const Json& part : parts.subspan(1)) {
    const Json* arms = json_find(part, member);
    if (arms == nullptr) continue;
    for (const auto& [id, list] : arms->items()) {
      const auto place =
          static_cast<std::size_t>(std::find(scores.ids.begin(), scores.ids.end(), id) - scores.ids.begin());
      if (place == scores.ids.size()) {
        scores.ids.push_back(id);
        scores.arms.emplace_back();
      }
      for (const Json& score : list) scores.arms[place].push_back(option_scores_from_json(score));
    }
  }
  return scores;
}

Json TaskEvaluation::effect(const Scores& scores, std::size_t arm, std::size_t base) const {
  const auto after = verdicts_of(prepared_, scores.arms[arm], form_);
  const auto before = verdicts_of(prepared_, std::span(scores.arms[base]).first(after.size()), form_);
  const McNemar test = mcnemar(right_of(before), right_of(after));
  Json json = interval_json(
      paired_difference(numbers_of(before, right_number), numbers_of(after, right_number), options_.seed));
  json["n"] = after.size();
  json["lost"] = test.lost;
  json["gained"] = test.gained;
  json["p"] = test.p;
  json["margin"] = interval_json(
      paired_difference(numbers_of(before, margin_number), numbers_of(after, margin_number), options_.seed));
  return json;
}

Json TaskEvaluation::templates(const Scores& scores) const {
  std::map<std::string, std::vector<std::size_t>> groups;
  for (std::size_t k = 0; k < items_.size(); ++k) groups[items_[k].template_id].push_back(k);
  Json list = Json::array();
  for (const auto& [id, members] : groups) {
    Json json = {{"id", id}, {"n", members.size()}};
    for (std::size_t arm = 0; arm < std::min<std::size_t>(2, scores.arms.size()); ++arm) {
      const auto verdicts = verdicts_of(prepared_, scores.arms[arm], form_);
      double right = 0;
      for (const std::size_t k : members) right += verdicts[k].right;
      json[scores.ids[arm]] = right / static_cast<double>(members.size());
    }
    list.push_back(std::move(json));
  }
  return list;
}

Json TaskEvaluation::control_report(const Scores& scores, std::span<const Json> parts) const {
  Json controls = Json::object();
  std::size_t differing = 0;
  for (const Json& part : parts.subspan(1))
    differing += static_cast<std::size_t>(json_integer_or(part, "identity_differs", 0));
  controls["identity"] = {{"items_that_differ", differing}};
  std::vector<double> random;
  std::size_t scored = 0;
  for (std::size_t arm = 2; arm < scores.arms.size(); ++arm) {
    if (!scores.ids[arm].starts_with("random-heads-")) {
      controls[scores.ids[arm]] = effect(scores, arm, 0);
      continue;
    }
    const auto verdicts = verdicts_of(prepared_, scores.arms[arm], form_);
    scored = verdicts.size();
    random.push_back(accuracy_of(verdicts));
  }
  if (random.empty()) {
    controls["random-heads"] = nullptr;
  } else {
    const auto same_items = verdicts_of(prepared_, std::span(scores.arms[1]).first(scored), form_);
    const double accuracy = accuracy_of(same_items);
    controls["random-heads"] = {{"draws", random.size()},
                                {"n", scored},
                                {"accuracy", accuracy},
                                {"accuracy_of_draws", random},
                                {"percentile", percentile_among(accuracy, random)}};
  }
  if (controls.contains("temperature")) controls["temperature"].update(parts[0].at("temperature"));
  const Scores toggled = gathered(parts, "toggled");
  if (toggled.arms.size() == 2) {
    const auto base = verdicts_of(toggled_, toggled.arms[0], form_);
    controls["other-first-token"] = effect(toggled, 1, 0);
    controls["other-first-token"]["with_bos"] = !codec_.bos.has_value();
    controls["other-first-token"]["accuracy_of_base"] = accuracy_of(base);
  }
  return controls;
}

Json TaskEvaluation::report(std::span<const Json> parts) const {
  const Scores scores = gathered(parts, "scores");
  const auto neutral = parts[0].at("neutral").get<std::vector<std::vector<double>>>();
  Json json = {{"id", task_.id},     {"number", task_.number}, {"title", task_.title},
               {"n", items_.size()}, {"chance", task_.chance}, {"form", to_string(form_)}};
  double tokens = 0, merged = 0, several = 0, options = 0;
  for (const PreparedItem& item : prepared_) {
    tokens += static_cast<double>(item.input.ids.size());
    merged += item.merged;
    for (const auto& option : item.input.continuations) {
      several += option.size() > 1;
      options += 1;
    }
  }
  const auto n = static_cast<double>(items_.size());
  json["mean_prompt_tokens"] = tokens / n;
  json["options_of_several_tokens"] = several / options;
  json["merged_items"] = static_cast<std::size_t>(merged);
  Json arms = Json::object();
  for (std::size_t arm = 0; arm < scores.arms.size(); ++arm) {
    if (scores.ids[arm].starts_with("random-heads-")) continue;
    const auto verdicts = verdicts_of(prepared_, scores.arms[arm], form_);
    Json summary = to_json(summarize_arm(prepared_, verdicts, scores.arms[arm]));
    if (arm < 2) {
      Json forms = Json::object();
      for (const ScoreForm form :
           {ScoreForm::sum, ScoreForm::per_token, ScoreForm::per_char, ScoreForm::calibrated, ScoreForm::first})
        forms[std::string(to_string(form))] = accuracy_of(verdicts_of(prepared_, scores.arms[arm], form, neutral));
      summary["accuracy_by_form"] = std::move(forms);
    }
    arms[scores.ids[arm]] = std::move(summary);
  }
  const double base = json_number(arms.at("base"), "accuracy"), se = std::sqrt(task_.chance * (1 - task_.chance) / n);
  json["above_chance"] = base > task_.chance + 2 * se;
  json["arms"] = std::move(arms);
  json["templates"] = templates(scores);
  if (scores.arms.size() < 2) return json;
  json["effect"] = effect(scores, 1, 0);
  if (options_.controls) json["controls"] = control_report(scores, parts);
  return json;
}

void add_false_discovery(Json& tasks) {
  std::vector<double> p;
  for (const Json& task : tasks)
    if (task.contains("effect")) p.push_back(json_number(task.at("effect"), "p"));
  const auto q = benjamini_hochberg(p);
  auto next = q.begin();
  for (Json& task : tasks)
    if (task.contains("effect")) task["effect"]["q"] = *next++;
}

}  // namespace headlight::analysis
