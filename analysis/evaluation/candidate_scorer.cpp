#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "analysis/evaluation/calibration.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kObjectives[] = {"accuracy", "margin", "entropy"};

double mean_of_numbers(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double entropy_of_choices(std::span<const std::size_t> chosen) {
  std::map<std::size_t, double> count;
  for (const std::size_t option : chosen) count[option] += 1.0 / static_cast<double>(chosen.size());
  double entropy = 0;
  for (const auto& [option, p] : count) entropy -= p * std::log(p);
  return entropy;
}

/// Mean of after - before, and its standard error where nothing has changed: around 0, so that one item that was gained
/// (mean = error = 1 / n) is not more than it.
std::pair<double, double> paired_mean(std::span<const double> before, std::span<const double> after) {
  const auto n = static_cast<double>(before.size());
  double sum = 0, squares = 0;
  for (std::size_t k = 0; k < before.size(); ++k) {
    sum += after[k] - before[k];
    squares += (after[k] - before[k]) * (after[k] - before[k]);
  }
  const double mean = sum / n;
  return {mean, std::sqrt(squares) / n};
}

}  // namespace

std::string_view to_string(Objective objective) {
  return kObjectives[static_cast<std::size_t>(objective)];
}

void ItemPool::add(const Task& task, std::span<const PreparedItem> more) {
  items.insert(items.end(), more.begin(), more.end());
  forms.resize(items.size(), primary_form(task));
}

CandidateScorer::CandidateScorer(ModelRunner& runner, const ItemPool& pool, Objective objective, Remember remember,
                                 std::stop_token stop)
    : runner_(runner),
      pool_(pool),
      objective_(objective),
      remember_(std::move(remember)),
      stop_(std::move(stop)),
      chunks_(chunks_of(pool.items)) {
  HEADLIGHT_CHECK(!pool.items.empty());
}

Json CandidateScorer::chunk(std::span<const intervention::Stack> candidates, std::size_t begin, std::size_t end) const {
  std::vector<Arm> arms = {{.id = "base", .stack = {}}};
  for (const auto& stack : candidates) arms.push_back({.id = "candidate", .stack = stack});
  const auto scores = score_items(runner_, std::span(pool_.items).subspan(begin, end - begin), arms, begin, stop_);
  Json list = Json::array();
  for (const auto& arm : scores) {
    Json answers = {
        {"right", Json::array()}, {"margin", Json::array()}, {"entropy", Json::array()}, {"chosen", Json::array()}};
    for (std::size_t k = begin; k < end; ++k) {
      const PreparedItem& item = pool_.items[k];
      const Verdict verdict = verdict_of(option_values(item, arm[k - begin], pool_.forms[k]), item.item->gold);
      answers["right"].push_back(verdict.right ? 1 : 0);
      answers["margin"].push_back(verdict.margin);
      answers["entropy"].push_back(arm[k - begin].entropy);
      answers["chosen"].push_back(verdict.chosen);
    }
    list.push_back(std::move(answers));
  }
  return list;
}

CandidateScore CandidateScorer::compare(const Answers& base, const Answers& candidate) const {
  CandidateScore score;
  score.accuracy = mean_of_numbers(candidate.right);
  score.margin = mean_of_numbers(candidate.margin);
  score.entropy = mean_of_numbers(candidate.entropy);
  score.chosen_entropy = entropy_of_choices(candidate.chosen);
  const auto [gain, se] = objective_ == Objective::accuracy ? paired_mean(base.right, candidate.right)
                          : objective_ == Objective::margin ? paired_mean(base.margin, candidate.margin)
                                                            : paired_mean(candidate.entropy, base.entropy);
  score.gain = gain;
  score.gain_se = se;
  const std::vector<std::uint8_t> before(base.right.begin(), base.right.end()),
      after(candidate.right.begin(), candidate.right.end());
  score.test = mcnemar(before, after);
  return score;
}

std::vector<CandidateScore> CandidateScorer::score(const std::string& stage,
                                                   std::span<const intervention::Stack> candidates) {
  std::vector<Answers> answers(candidates.size() + 1);
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    const auto [begin, end] = chunks_[c];
    const Json list =
        remember_(fmt::format("{}/{}/{}", stage, c, chunks_.size()), [&] { return chunk(candidates, begin, end); });
    for (std::size_t a = 0; a < answers.size(); ++a) {
      const auto append = [&](auto& values, const char* key) {
        for (const Json& value : list.at(a).at(key)) values.push_back(value);
      };
      append(answers[a].right, "right");
      append(answers[a].margin, "margin");
      append(answers[a].entropy, "entropy");
      append(answers[a].chosen, "chosen");
    }
  }
  std::vector<CandidateScore> scores;
  for (std::size_t a = 1; a < answers.size(); ++a) scores.push_back(compare(answers[0], answers[a]));
  if (candidates.empty()) scores.push_back(compare(answers[0], answers[0]));
  return scores;
}

CandidateScore CandidateScorer::base() {
  return score("base", {}).front();
}

}  // namespace headlight::analysis
