#include "analysis/sinks/secondary_sinks.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

namespace headlight::analysis {
namespace {

void clip(std::span<const double> norm_m, SecondarySinks& sinks) {
  const auto num_states = static_cast<int>(norm_m.size());
  std::vector<double> delta;
  for (int m = 0; m + 1 < num_states; ++m)
    delta.push_back(norm_m[static_cast<std::size_t>(m) + 1] - norm_m[static_cast<std::size_t>(m)]);
  sinks.end = num_states;
  if (delta.empty()) return;
  sinks.begin = static_cast<int>(std::max_element(delta.begin(), delta.end()) - delta.begin()) + 1;
  if (sinks.begin >= static_cast<int>(delta.size())) return;
  const auto from = delta.begin() + sinks.begin;
  sinks.end = sinks.begin + static_cast<int>(std::min_element(from, delta.end()) - from) + 1;
}

SinkKind kind_of(int lifetime, int num_states, const SecondarySinks& sinks, const SecondarySinkOptions& options) {
  if (options.released_constants) {
    if (lifetime >= num_states - 15) return SinkKind::primary_like;
    return lifetime > 4 ? SinkKind::secondary : SinkKind::noise;
  }
  if (lifetime >= options.primary_share * (sinks.end - sinks.begin)) return SinkKind::primary_like;
  return lifetime >= options.min_lifetime ? SinkKind::secondary : SinkKind::noise;
}

}  // namespace

std::int64_t primary_sink(std::span<const double> norm_mj, std::int64_t num_tokens,
                          std::span<const std::int64_t> candidates) {
  HEADLIGHT_CHECK(!candidates.empty());
  std::int64_t best = candidates.front();
  double largest = -1.0;
  for (const std::int64_t candidate : candidates) {
    if (candidate >= num_tokens) continue;
    double sum = 0.0;
    for (auto at = static_cast<std::size_t>(candidate); at < norm_mj.size(); at += static_cast<std::size_t>(num_tokens))
      sum += norm_mj[at];
    if (sum <= largest) continue;
    largest = sum;
    best = candidate;
  }
  return best;
}

SecondarySinks secondary_sinks(std::span<const double> norm_m, std::span<const double> cos_mj, std::int64_t num_tokens,
                               std::int64_t primary, const SecondarySinkOptions& options) {
  SecondarySinks sinks;
  clip(norm_m, sinks);
  const auto num_states = static_cast<int>(norm_m.size());
  for (std::int64_t j = primary + 1; j < num_tokens; ++j) {
    SecondarySink token{.position = j};
    int run = 0;
    for (int m = sinks.begin; m < sinks.end; ++m) {
      const double cosine = cos_mj[static_cast<std::size_t>(m * num_tokens + j)];
      if (!(std::abs(cosine) > options.min_cosine)) {
        run = 0;
        continue;
      }
      if (token.lifetime++ == 0) token.created = m;
      token.longest_run = std::max(token.longest_run, ++run);
    }
    if (token.lifetime == 0) continue;
    token.kind = kind_of(token.lifetime, num_states, sinks, options);
    sinks.tokens.push_back(token);
  }
  return sinks;
}

std::vector<std::vector<std::array<int, 3>>> sink_levels(std::span<const SecondarySink> tokens, double min_share) {
  std::map<std::array<int, 2>, int> count;
  int total = 0;
  for (const SecondarySink& token : tokens) {
    if (token.kind != SinkKind::secondary) continue;
    ++count[{token.created, token.lifetime}];
    ++total;
  }
  std::erase_if(count, [&](const auto& cell) { return cell.second < min_share * total; });
  std::vector<std::vector<std::array<int, 3>>> levels;
  while (!count.empty()) {  // flood from the first cell that is left
    std::vector<std::array<int, 2>> open = {count.begin()->first};
    std::vector<std::array<int, 3>> level;
    while (!open.empty()) {
      const auto cell = open.back();
      open.pop_back();
      const auto found = count.find(cell);
      if (found == count.end()) continue;
      level.push_back({cell[0], cell[1], found->second});
      count.erase(found);
      for (int x = -1; x <= 1; ++x)
        for (int y = -1; y <= 1; ++y) open.push_back({cell[0] + x, cell[1] + y});
    }
    std::sort(level.begin(), level.end());
    levels.push_back(std::move(level));
  }
  return levels;
}

}  // namespace headlight::analysis
