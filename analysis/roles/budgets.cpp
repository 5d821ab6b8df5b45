#include "analysis/roles/budgets.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

/// Indices by value, descending or ascending, ties by index.
std::vector<std::size_t> order_by(std::span<const double> values, bool descending) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return descending ? values[a] > values[b] : values[a] < values[b];
  });
  return order;
}

/// Adds `step` to entries in `order` that stay within the limits, round after round, until `missing` is used up.
void distribute(std::vector<std::int64_t>& budgets, const std::vector<std::size_t>& order, std::int64_t missing,
                std::int64_t minimum, std::int64_t maximum) {
  const std::int64_t step = missing > 0 ? 1 : -1;
  bool moved = true;
  while (missing != 0 && moved) {
    moved = false;
    for (const std::size_t k : order) {
      const std::int64_t next = budgets[k] + step;
      if (missing == 0 || next < minimum || next > maximum) continue;
      budgets[k] = next;
      missing -= step;
      moved = true;
    }
  }
}

}  // namespace

std::vector<std::int64_t> layer_budgets(std::span<const double> error_l, const LayerBudgetOptions& options) {
  const std::int64_t maximum = options.maximum > 0 ? options.maximum : 3 * options.capacity;
  if (options.capacity < options.minimum || maximum < options.minimum)
    throw Error(Errc::invalid_argument,
                fmt::format("a capacity of {} per layer with at least {} and at most {} cannot be met",
                            options.capacity, options.minimum, maximum));
  const auto layers = std::ssize(error_l);
  const std::int64_t total = options.capacity * layers, shared = total - options.minimum * layers;
  std::vector<std::int64_t> budgets;
  for (const double e : error_l) {
    const auto extra = static_cast<std::int64_t>(std::nearbyint(e * static_cast<double>(shared)));
    budgets.push_back(std::clamp(options.minimum + extra, options.minimum, maximum));
  }
  const std::int64_t missing = total - std::accumulate(budgets.begin(), budgets.end(), std::int64_t{0});
  distribute(budgets, order_by(error_l, missing > 0), missing, options.minimum, maximum);
  return budgets;
}

std::vector<std::int64_t> head_budgets(std::span<const double> score_lh, const HeadBudgetOptions& options) {
  if (options.capacity <= options.window || !(options.beta > 1))
    throw Error(Errc::invalid_argument,
                fmt::format("expected a capacity above the window of {} and beta above 1, found {} and {}",
                            options.window, options.capacity, options.beta));
  std::vector<double> share;
  for (const double s : score_lh) share.push_back(s > 0 ? std::pow(s, options.temperature) : 0.0);
  const double sum = std::accumulate(share.begin(), share.end(), 0.0);
  if (!(sum > 0)) throw Error(Errc::invalid_argument, "head budgets need a positive score");
  for (double& p : share) p /= sum;

  const std::int64_t base = options.capacity - options.window;
  const auto q = static_cast<std::int64_t>(std::floor(static_cast<double>(base) / options.beta));
  const auto heads = std::ssize(score_lh);
  std::vector<std::int64_t> budgets;
  for (const double p : share)
    budgets.push_back(static_cast<std::int64_t>(std::nearbyint(p * static_cast<double>(q * heads))) + base - q);
  if (options.repair) {
    const std::int64_t missing = base * heads - std::accumulate(budgets.begin(), budgets.end(), std::int64_t{0});
    distribute(budgets, order_by(share, missing > 0), missing, 0, base * heads);
  }
  return budgets;
}

}  // namespace headlight::analysis
