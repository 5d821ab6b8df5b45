#include "analysis/roles/head_samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "analysis/learning/ranking.h"
#include "analysis/undefined.h"
#include "base/error.h"
#include "base/split_mix.h"

namespace headlight::analysis {
namespace {

constexpr int kResamples = 1000;

Json values_to_json(const HeadValues& values) {
  Json list = Json::array();
  for (const double v : values) list.push_back(std::isnan(v) ? Json(nullptr) : Json(v));
  return list;
}

HeadValues values_from_json(const Json& list, const std::string& path) {
  if (!list.is_array()) throw Error(Errc::bad_format, path + ": expected an array of numbers");
  HeadValues values;
  for (const auto& v : list) {
    if (!v.is_null() && !v.is_number()) throw Error(Errc::bad_format, path + ": expected numbers or null");
    values.push_back(v.is_null() ? kUndefined : v.get<double>());
  }
  return values;
}

const HeadValues* find_score(const HeadSample& sample, std::string_view id) {
  for (const auto& [name, values] : sample.scores)
    if (name == id) return &values;
  return nullptr;
}

HeadValues mean_of(std::span<const HeadValues* const> samples) {
  HeadValues mean;
  for (std::size_t h = 0; h < samples.front()->size(); ++h) {
    double sum = 0, count = 0;
    for (const HeadValues* values : samples)
      if (!std::isnan((*values)[h])) sum += (*values)[h], count += 1;
    mean.push_back(count > 0 ? sum / count : kUndefined);
  }
  return mean;
}

/// Value at a share of the sorted entries, interpolated.
double quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// Defined values of a head.
std::vector<double> defined(std::span<const HeadValues* const> samples, std::size_t head) {
  std::vector<double> values;
  for (const HeadValues* sample : samples)
    if (!std::isnan((*sample)[head])) values.push_back((*sample)[head]);
  return values;
}

void add_interval(ScoreSummary& summary, std::span<const HeadValues* const> samples, std::uint64_t seed) {
  const std::size_t heads = summary.mean.size(), count = samples.size();
  summary.low.assign(heads, kUndefined);
  summary.high.assign(heads, kUndefined);
  SplitMix64 random = SplitMix64::stream(seed, summary.id, 0);
  std::vector<double> draws(count * kResamples);
  for (double& draw : draws) draw = random.uniform();
  std::vector<double> means(kResamples);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto values = defined(samples, h);
    if (values.size() < 2) continue;
    for (std::size_t b = 0; b < means.size(); ++b) {
      double sum = 0;
      for (std::size_t k = 0; k < values.size(); ++k)
        sum += values[static_cast<std::size_t>(draws[b * count + k] * static_cast<double>(values.size()))];
      means[b] = sum / static_cast<double>(values.size());
    }
    std::sort(means.begin(), means.end());
    summary.low[h] = quantile(means, 0.025);
    summary.high[h] = quantile(means, 0.975);
  }
}

}  // namespace

Json to_json(const HeadSample& sample) {
  Json scores = Json::object();
  for (const auto& [id, values] : sample.scores) scores[id] = values_to_json(values);
  return {{"group", sample.group}, {"counted", sample.counted}, {"scores", scores}, {"facts", sample.facts}};
}

HeadSample head_sample_from_json(const Json& json) {
  HeadSample sample;
  sample.group = json_string(json, "group");
  sample.counted = json_bool(json, "counted");
  const Json* scores = json_find(json, "scores");
  if (scores == nullptr || !scores->is_object()) throw Error(Errc::bad_format, "scores: expected an object");
  for (const auto& [id, values] : scores->items())
    sample.scores.emplace_back(id, values_from_json(values, "scores." + id));
  if (const Json* facts = json_find(json, "facts")) sample.facts = *facts;
  return sample;
}

ScoreSummary summarize(std::string_view id, std::span<const HeadSample> samples, std::uint64_t seed) {
  ScoreSummary summary;
  summary.id = id;
  summary.stability = kUndefined;
  std::vector<const HeadValues*> all;
  std::map<std::string, std::vector<const HeadValues*>> groups;
  for (const HeadSample& sample : samples) {
    const HeadValues* values = find_score(sample, id);
    if (values == nullptr || !sample.counted) continue;
    all.push_back(values);
    groups[sample.group].push_back(values);
  }
  if (all.empty()) return summary;
  summary.mean = mean_of(all);
  for (std::size_t h = 0; h < summary.mean.size(); ++h)
    summary.samples = std::max(summary.samples, std::ssize(defined(all, h)));
  add_interval(summary, all, seed);
  for (const auto& [group, members] : groups) summary.group_means[group] = mean_of(members);
  for (auto a = summary.group_means.begin(); a != summary.group_means.end(); ++a)
    for (auto b = std::next(a); b != summary.group_means.end(); ++b)
      summary.stability = std::fmin(summary.stability, rank_agreement(a->second, b->second));
  return summary;
}

double rank_agreement(std::span<const double> a, std::span<const double> b) {
  HEADLIGHT_CHECK(a.size() == b.size());
  std::vector<double> x, y;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (std::isnan(a[k]) || std::isnan(b[k])) continue;
    x.push_back(a[k]);
    y.push_back(b[k]);
  }
  return spearman(x, y);
}

std::vector<std::size_t> ranking(std::span<const double> values) {
  std::vector<std::size_t> order;
  for (std::size_t k = 0; k < values.size(); ++k)
    if (!std::isnan(values[k])) order.push_back(k);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  return order;
}

HeadValues to_kv_heads(std::span<const double> value_lh, int num_layers, int num_heads, int num_kv_heads,
                       GroupReduce reduce) {
  const int readers = num_heads / num_kv_heads;
  HeadValues out;
  for (int kv = 0; kv < num_layers * num_kv_heads; ++kv) {
    double sum = 0, count = 0, largest = kUndefined;
    for (int r = 0; r < readers; ++r) {
      const double value = value_lh[static_cast<std::size_t>(kv * readers + r)];
      if (std::isnan(value)) continue;
      largest = std::fmax(largest, value);
      sum += value;
      count += 1;
    }
    out.push_back(reduce == GroupReduce::max ? largest : count > 0 ? sum / count : kUndefined);
  }
  return out;
}

}  // namespace headlight::analysis
