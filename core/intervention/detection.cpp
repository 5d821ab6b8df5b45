#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/intervention/program.h"

namespace headlight::intervention {
namespace {

using kernels::KeyRun;

/// Runs of equal groups; group 0 is left out.
std::vector<KeyRun> runs_of(const std::vector<int>& group_j) {
  std::vector<KeyRun> runs;
  for (std::size_t j = 0; j < group_j.size(); ++j) {
    const auto key = static_cast<std::int64_t>(j);
    const auto value = static_cast<float>(group_j[j]);
    if (group_j[j] == 0) continue;
    if (!runs.empty() && runs.back().end == key && runs.back().value == value)
      ++runs.back().end;
    else
      runs.push_back({key, key + 1, value});
  }
  return runs;
}

}  // namespace

std::vector<std::int64_t> detect_sinks(const SinkDetection& detection, std::span<const float> received_j,
                                       std::span<const std::int64_t> rows_j) {
  std::vector<std::int64_t> found;
  for (std::size_t j = 0; j < received_j.size(); ++j)
    if (rows_j[j] >= std::max<std::int64_t>(1, detection.min_rows) &&
        static_cast<double>(received_j[j]) / static_cast<double>(rows_j[j]) > detection.threshold)
      found.push_back(static_cast<std::int64_t>(j));
  if (!found.empty() && (detection.spare_first_found || found.front() == 0)) found.erase(found.begin());
  return found;
}

std::vector<KeyRun> sink_groups(const SinkDetection& detection, std::span<const std::int64_t> sinks) {
  if (sinks.empty()) return {};
  std::vector<int> group_j(static_cast<std::size_t>(sinks.back()) + 1, 0);
  if (detection.keep_first) group_j[0] = 2;
  for (const std::int64_t j : sinks) group_j[static_cast<std::size_t>(j)] = 1;
  return runs_of(group_j);
}

double massive_ratio(std::span<const float> x_d, std::span<const int> dims) {
  double squares = 0.0, largest = 0.0;
  for (const float x : x_d) squares += static_cast<double>(x) * static_cast<double>(x);
  for (const int k : dims) largest = std::max(largest, std::abs(static_cast<double>(x_d[static_cast<std::size_t>(k)])));
  return largest / std::sqrt(squares / static_cast<double>(x_d.size()) + 1e-6);
}

std::vector<KeyRun> massive_groups(const MassiveDetection& detection, std::span<const double> ratio_j) {
  std::vector<int> group_j(ratio_j.size(), 0);
  for (const kernels::KeyRange& span : detection.spans)
    for (std::int64_t j = span.begin; j < span.end; ++j) group_j[static_cast<std::size_t>(j)] = 3;
  bool any = false;
  for (std::size_t j = 0; j < ratio_j.size(); ++j) {
    if (!(ratio_j[j] > detection.tau)) continue;
    any |= group_j[j] == 3;
    group_j[j] = group_j[j] == 3 ? 2 : 1;
  }
  return any ? runs_of(group_j) : std::vector<KeyRun>{};
}

std::vector<double> gaze_saliency(const std::vector<std::vector<std::vector<double>>>& shift_htj) {
  if (shift_htj.empty() || shift_htj.front().empty()) return {};
  const std::size_t keys = shift_htj.front().front().size();
  std::vector<std::pair<double, std::size_t>> order;  // heads, the largest total first, ties by head
  for (std::size_t h = 0; h < shift_htj.size(); ++h) {
    double total = 0.0;
    for (const auto& row : shift_htj[h]) total += std::accumulate(row.begin(), row.end(), 0.0);
    order.emplace_back(-total, h);
  }
  std::sort(order.begin(), order.end());
  order.resize((order.size() + 1) / 2);
  std::vector<double> mean(keys, 0.0);
  for (const auto& [negative, h] : order)
    for (const auto& row : shift_htj[h])
      for (std::size_t j = 0; j < keys; ++j)
        mean[j] += row[j] / static_cast<double>(order.size() * shift_htj[h].size());
  double centre = 0.0, squares = 0.0;
  for (const double value : mean) centre += value / static_cast<double>(keys);
  for (const double value : mean) squares += (value - centre) * (value - centre) / static_cast<double>(keys);
  const double reach = 3.0 * std::sqrt(squares);
  for (double& value : mean) value = std::clamp(value, centre - reach, centre + reach);
  const auto [low, high] = std::minmax_element(mean.begin(), mean.end());
  const double least = *low, width = *high - *low;
  for (double& value : mean) value = width > 0.0 ? (value - least) / width : 0.0;
  return mean;
}

std::vector<KeyRun> gaze_runs(const GazeDetection& detection, std::span<const double> saliency) {
  std::vector<KeyRun> runs;
  std::size_t at = 0;
  for (const kernels::KeyRange& span : detection.image)
    for (std::int64_t j = span.begin; j < span.end; ++j)
      runs.push_back({j, j + 1, static_cast<float>(std::exp(detection.alpha * saliency[at++]))});
  for (const kernels::KeyRange& span : detection.question) runs.push_back({span.begin, span.end, -1.0f});
  std::sort(runs.begin(), runs.end(), [](const KeyRun& a, const KeyRun& b) { return a.begin < b.begin; });
  return runs;
}

}  // namespace headlight::intervention
