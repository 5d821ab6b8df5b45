#include "analysis/evaluation/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

using heads::HeadId;
using intervention::Intervention;
using intervention::Stack;

constexpr double kProbeGamma = 2.0, kProbeBeta = 0.4, kProbeAlpha = 0.01, kProbeTau = 1.25;
constexpr double kLeastChoiceShare = 0.5;  ///< of the entropy of the unchanged model's answers

Json number_json(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json score_json(const CandidateScore& score) {
  return {{"accuracy", score.accuracy},
          {"margin", number_json(score.margin)},
          {"entropy", score.entropy},
          {"chosen_entropy", score.chosen_entropy},
          {"gain", number_json(score.gain)},
          {"gain_se", number_json(score.gain_se)},
          {"lost", score.test.lost},
          {"gained", score.test.gained},
          {"p", score.test.p}};
}

/// A candidate of a stage: how it is called there, and what it is.
struct Candidate {
  std::string name;
  Intervention entry;
};

std::vector<HeadId> heads_of_layer(const heads::HeadGrid& grid, int layer) {
  std::vector<HeadId> ids;
  for (int h = 0; h < grid.num_heads; ++h) ids.push_back({layer, h});
  return ids;
}

Intervention entry_of(std::string_view method, std::string_view parameter, double value, std::vector<HeadId> ids) {
  Intervention entry;
  entry.id = "calibrated";
  entry.method = method;
  entry.params[std::string(parameter)] = value;
  std::sort(ids.begin(), ids.end());
  entry.scope.heads = std::move(ids);
  if (method == "pasta") entry.inputs.spans = {{.begin = -1, .end = -1, .text = "{evidence}"}};
  return entry;
}

/// Better by the objective; by margin where equal. Earlier candidates win what is still equal.
bool better(const CandidateScore& a, const CandidateScore& b) {
  return a.gain != b.gain ? a.gain > b.gain : a.margin > b.margin;
}
std::size_t best_of(std::span<const CandidateScore> scores) {
  std::size_t best = 0;
  for (std::size_t k = 1; k < scores.size(); ++k)
    if (better(scores[k], scores[best])) best = k;
  return best;
}

/// The search of one method: runs stages and writes down what they found.
class Search {
 public:
  Search(CandidateScorer& scorer, const heads::HeadGrid& grid, const CalibrationOptions& options)
      : scorer_(scorer), grid_(grid), options_(options) {}

  std::vector<CandidateScore> stage(const std::string& name, std::span<const Candidate> candidates) {
    std::vector<Stack> stacks;
    for (const Candidate& candidate : candidates) stacks.push_back({candidate.entry});
    const auto scores = scorer_.score(name, stacks);
    std::vector<double> p;
    for (const CandidateScore& score : scores) p.push_back(score.test.p);
    const auto q = benjamini_hochberg(p);
    Json list = Json::array();
    for (std::size_t k = 0; k < candidates.size(); ++k) {
      Json json = {{"candidate", candidates[k].name}};
      json.update(score_json(scores[k]));
      json["q"] = q[k];
      list.push_back(std::move(json));
    }
    result.stages[name] = std::move(list);
    return scores;
  }

  /// Layers [first, last], all heads of one at a time. @return those with the largest worth, ascending
  template <class Worth>
  std::vector<int> best_layers(std::string_view method, std::string_view parameter, double value, int first, int last,
                               const Worth& worth) {
    std::vector<Candidate> candidates;
    for (int l = first; l <= last; ++l)
      candidates.push_back({fmt::format("L{}", l), entry_of(method, parameter, value, heads_of_layer(grid_, l))});
    const auto scores = stage("layers", candidates);
    std::vector<int> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return worth(scores[static_cast<std::size_t>(a)]) > worth(scores[static_cast<std::size_t>(b)]);
    });
    order.resize(std::min(order.size(), options_.best_layers));
    for (int& layer : order) layer += first;
    std::sort(order.begin(), order.end());
    return order;
  }

  struct HeadScore {
    HeadId id;
    CandidateScore score;
  };
  std::vector<HeadScore> heads(std::string_view method, std::string_view parameter, double value,
                               std::span<const int> layers) {
    std::vector<Candidate> candidates;
    std::vector<HeadScore> found;
    for (const int l : layers)
      for (const HeadId id : heads_of_layer(grid_, l)) {
        candidates.push_back({heads::to_string(id), entry_of(method, parameter, value, {id})});
        found.push_back({id, {}});
      }
    const auto scores = stage("heads", candidates);
    for (std::size_t k = 0; k < found.size(); ++k) found[k].score = scores[k];
    return found;
  }

  /// The best of the candidates, when it is better than the unchanged model.
  void choose(const std::string& name, std::span<const Candidate> candidates) {
    const auto scores = stage(name, candidates);
    const std::size_t best = best_of(scores);
    if (!result.found && scores[best].gain <= 0) result.entry = candidates[best].entry;
    if (scores[best].gain <= 0 || (result.found && !better(scores[best], result.score))) return;
    result.found = true;
    result.entry = candidates[best].entry;
    result.score = scores[best];
  }

  /// Nothing was found: what was tried, switched off.
  CalibrationResult finish(Intervention tried) {
    if (result.entry.method.empty()) result.entry = std::move(tried);
    result.entry.enabled = result.found;
    if (!result.found) result.warnings.emplace_back("nothing is better than the unchanged model on these items");
    return result;
  }

  CalibrationResult result;

 private:
  CandidateScorer& scorer_;
  heads::HeadGrid grid_;
  CalibrationOptions options_;
};

double gain_of(const CandidateScore& score) {
  return score.gain;
}
double reaction_of(const CandidateScore& score) {
  return std::abs(score.gain);
}

/// The same entry with every value of a parameter; the values nearest to the identity come first, so that they win
/// ties.
std::vector<Candidate> with_values(std::string_view method, std::string_view parameter, std::vector<double> values,
                                   const std::vector<HeadId>& ids) {
  std::stable_sort(values.begin(), values.end(), [](double a, double b) {
    return std::abs(std::log(std::max(a, 1e-3))) < std::abs(std::log(std::max(b, 1e-3)));
  });
  std::vector<Candidate> candidates;
  for (const double value : values)
    if (value != 1.0)
      candidates.push_back({fmt::format("{} {:.4g}", parameter, value), entry_of(method, parameter, value, ids)});
  return candidates;
}

CalibrationResult least_entropy_gamma(CandidateScorer& scorer, Search& search) {
  const auto values = log_grid(0.1, 10.0, 13);
  const auto candidates = with_values("zero-tuning", "gamma", values, {});
  const auto scores = search.stage("gammas", candidates);
  const double least_choice = kLeastChoiceShare * scorer.base().chosen_entropy;
  CalibrationResult& result = search.result;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    if (scores[k].gain <= 0 || scores[k].chosen_entropy < least_choice) continue;
    if (result.found && scores[k].gain <= result.score.gain) continue;
    result.found = true;
    result.entry = candidates[k].entry;
    result.score = scores[k];
  }
  const double gamma = result.found ? result.entry.params.at("gamma").get<double>() : 1.0;
  if (gamma == values.front() || gamma == values.back())
    result.warnings.push_back(
        fmt::format("gamma {:.3g} is the end of the grid: its entropy may be small because the "
                    "model says little",
                    gamma));
  return search.finish(entry_of("zero-tuning", "gamma", 1.0, {}));
}

}  // namespace

std::vector<double> log_grid(double low, double high, std::size_t count) {
  std::vector<double> values;
  for (std::size_t k = 0; k < count; ++k) {
    const double share = static_cast<double>(k) / static_cast<double>(count - 1);
    const double log_value = std::log(low) + share * (std::log(high) - std::log(low));
    values.push_back(std::abs(log_value) < 1e-12 ? 1.0 : std::exp(log_value));
  }
  return values;
}

CalibrationResult calibrate_act(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                const CalibrationOptions& options) {
  Search search(scorer, grid, options);
  const bool small = grid.num_layers < 5;  // too few layers to leave some out
  const auto layers =
      search.best_layers("act", "beta", kProbeBeta, small ? 0 : 2, grid.num_layers - (small ? 1 : 2), gain_of);
  std::vector<HeadId> kept;
  for (const auto& head : search.heads("act", "beta", kProbeBeta, layers))
    if (head.score.gain > 0) kept.push_back(head.id);
  if (!kept.empty()) search.choose("betas", with_values("act", "beta", {0.0, 0.2, 0.4, 0.6, 0.8}, kept));
  return search.finish(entry_of("act", "beta", kProbeBeta, kept));
}

CalibrationResult calibrate_zero_tuning(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                        const CalibrationOptions& options) {
  Search search(scorer, grid, options);
  if (scorer.objective() == Objective::entropy) return least_entropy_gamma(scorer, search);
  const auto layers = search.best_layers("zero-tuning", "gamma", kProbeGamma, 0, grid.num_layers - 1, reaction_of);
  std::vector<HeadId> up, down;
  double up_gain = 0, down_gain = 0;
  for (const auto& head : search.heads("zero-tuning", "gamma", kProbeGamma, layers)) {
    if (head.score.gain > head.score.gain_se) {
      up.push_back(head.id);
      up_gain += head.score.gain;
    } else if (head.score.gain < -head.score.gain_se) {
      down.push_back(head.id);
      down_gain -= head.score.gain;
    }
  }
  search.result.stages["classes"] = {{"up", up.size()}, {"down", down.size()}};
  const bool ups = up.size() != down.size() ? up.size() > down.size() : up_gain >= down_gain;
  const auto& chosen = ups ? up : down;
  auto gammas = log_grid(0.1, 10.0, 13);
  std::erase_if(gammas, [&](double gamma) { return ups ? gamma < 1.0 : gamma > 1.0; });
  if (!chosen.empty()) search.choose("gammas", with_values("zero-tuning", "gamma", gammas, chosen));
  return search.finish(entry_of("zero-tuning", "gamma", 1.0, chosen));
}

CalibrationResult calibrate_pasta(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                  const CalibrationOptions& options) {
  Search search(scorer, grid, options);
  const auto layers = search.best_layers("pasta", "alpha", kProbeAlpha, 0, grid.num_layers - 1, gain_of);
  auto found = search.heads("pasta", "alpha", kProbeAlpha, layers);
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return better(a.score, b.score); });
  std::vector<Candidate> candidates;
  for (const double share : {0.25, 0.5, 1.0}) {
    const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(found.size())));
    std::vector<HeadId> ids;
    for (std::size_t k = 0; k < count; ++k) ids.push_back(found[k].id);
    for (Candidate& candidate : with_values("pasta", "alpha", {0.2, 0.05, 0.01}, ids)) {
      candidate.name = fmt::format("{} heads, {}", count, candidate.name);
      candidates.push_back(std::move(candidate));
    }
  }
  search.choose("sets", candidates);
  return search.finish(candidates.front().entry);
}

CalibrationResult calibrate_temperature(CandidateScorer& scorer, const heads::HeadGrid& grid,
                                        const CalibrationOptions& options) {
  Search search(scorer, grid, options);
  const auto values = log_grid(0.5, 2.0, 9);
  search.choose("taus", with_values("temperature", "tau", values, {}));
  const double probe = search.result.found ? search.result.entry.params.at("tau").get<double>() : kProbeTau;
  std::vector<HeadId> ids;
  for (const int layer : search.best_layers("temperature", "tau", probe, 0, grid.num_layers - 1, gain_of)) {
    const auto more = heads_of_layer(grid, layer);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  search.choose("taus-of-layers", with_values("temperature", "tau", values, ids));
  return search.finish(entry_of("temperature", "tau", 1.0, ids));
}

}  // namespace headlight::analysis
