#include "core/capture/derive.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "core/capture/statistics.h"

namespace headlight::capture {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kMinRowsOfColumn = 8;  // a mean over fewer rows says nothing about the key

StoredStatistic base_of(const StoredStatistic& stored) {
  return [&stored](std::string_view id) { return stored(std::string(id) + "_base"); };
}

// out[h, x] = f(x, value[h, x]) over one stored array.
template <class F>
Buffer<float> map_values(Buffer<float> values_hx, std::int64_t width, F f) {
  for (std::size_t at = 0; at < values_hx.size(); ++at)
    values_hx[at] = f(static_cast<std::int64_t>(at) % width, values_hx[at]);
  return values_hx;
}

float conditional_entropy(double entropy, double null_mass) {
  if (!(null_mass > 0.0)) return static_cast<float>(entropy);  // also passes NaN on
  const double real = 1.0 - null_mass;
  if (real <= 0.0) return 0.0f;
  return static_cast<float>(std::max(0.0, (entropy + null_mass * std::log(null_mass)) / real + std::log(real)));
}

Buffer<float> entropy_real(const StoredStatistic& stored) {
  Buffer<float> entropy_hi = stored("entropy");
  const Buffer<float> null_hi = stored("null_mass");
  for (std::size_t at = 0; at < entropy_hi.size(); ++at)
    entropy_hi[at] = conditional_entropy(entropy_hi[at], null_hi[at]);
  return entropy_hi;
}

Buffer<float> entropy_normalized(const LayerGeometry& geometry, const StoredStatistic& stored) {
  return map_values(stored("entropy"), geometry.num_rows, [&](std::int64_t i, float entropy) {
    const std::int64_t keys = geometry.visible_keys(i);
    const std::int64_t outcomes = keys > 0 ? keys + (geometry.has_null_logit ? 1 : 0) : 0;
    return outcomes > 1 ? static_cast<float>(entropy / std::log(static_cast<double>(outcomes))) : kNan;
  });
}

Buffer<float> received_mean(const LayerGeometry& geometry, const StoredStatistic& stored) {
  return map_values(stored("received"), geometry.num_rows, [&](std::int64_t j, float received) {
    const std::int64_t rows = geometry.visible_rows(j);
    return rows > 0 ? static_cast<float>(received / static_cast<double>(rows)) : received * 0.0f;
  });
}

Buffer<float> visible_count(const LayerGeometry& geometry, int num_heads) {
  Buffer<float> count_hj(static_cast<std::size_t>(num_heads * geometry.num_rows));
  for (std::size_t at = 0; at < count_hj.size(); ++at)
    count_hj[at] = static_cast<float>(geometry.visible_rows(static_cast<std::int64_t>(at) % geometry.num_rows));
  return count_hj;
}

// Mean over x of the values for which counts(x) holds.
template <class Counts>
Buffer<float> mean_over(const Buffer<float>& values_hx, int num_heads, std::int64_t width, Counts counts) {
  Buffer<float> mean_h(static_cast<std::size_t>(num_heads));
  for (int h = 0; h < num_heads; ++h) {
    double sum = 0.0;
    std::int64_t n = 0;
    for (std::int64_t x = 0; x < width; ++x) {
      const float value = values_hx[static_cast<std::size_t>(h * width + x)];
      if (std::isnan(value) || !counts(x)) continue;
      sum += value;
      ++n;
    }
    mean_h[static_cast<std::size_t>(h)] = n > 0 ? static_cast<float>(sum / static_cast<double>(n)) : kNan;
  }
  return mean_h;
}

Buffer<float> received_first(const LayerGeometry& geometry, int num_heads, const StoredStatistic& stored) {
  const Buffer<float> mean_hj = received_mean(geometry, stored);
  Buffer<float> first_h(static_cast<std::size_t>(num_heads), kNan);
  const std::int64_t first = geometry.mask.first_key;
  if (first >= geometry.num_rows) return first_h;
  for (int h = 0; h < num_heads; ++h)
    first_h[static_cast<std::size_t>(h)] = mean_hj[static_cast<std::size_t>(h * geometry.num_rows + first)];
  return first_h;
}

Buffer<float> received_mean_max(const LayerGeometry& geometry, int num_heads, const StoredStatistic& stored) {
  const Buffer<float> mean_hj = received_mean(geometry, stored);
  Buffer<float> max_h(static_cast<std::size_t>(num_heads), kNan);
  for (int h = 0; h < num_heads; ++h) {
    float& best = max_h[static_cast<std::size_t>(h)];
    for (std::int64_t j = 0; j < geometry.num_rows; ++j)
      if (geometry.visible_rows(j) >= kMinRowsOfColumn)
        best = std::fmax(best, mean_hj[static_cast<std::size_t>(h * geometry.num_rows + j)]);
  }
  return max_h;
}

}  // namespace

std::int64_t LayerGeometry::visible_keys(std::int64_t row) const {
  return mask.visible(row, num_rows).size();
}

std::int64_t LayerGeometry::visible_rows(std::int64_t key) const {
  if (key < mask.first_key || key >= num_rows) return 0;
  const std::int64_t reach = mask.window > 0 ? mask.window : num_rows;
  const std::int64_t begin = mask.causal ? key : std::max(mask.first_key, key - reach + 1);
  return std::min(num_rows, key + reach) - begin;
}

kernels::KeyRange LayerGeometry::visible_to_rows(std::int64_t begin, std::int64_t end) const {
  begin = std::max(begin, mask.first_key);  // rows of padding see nothing
  end = std::min(end, num_rows);
  if (begin >= end) return {};
  return {mask.visible(begin, num_rows).begin, mask.visible(end - 1, num_rows).end};
}

std::int64_t LayerGeometry::visible_pairs(kernels::KeyRange rows, kernels::KeyRange columns) const {
  std::int64_t pairs = 0;
  for (std::int64_t i = rows.begin; i < rows.end; ++i) {
    const kernels::KeyRange keys = mask.visible(i, num_rows);
    pairs += std::max<std::int64_t>(0, std::min(keys.end, columns.end) - std::max(keys.begin, columns.begin));
  }
  return pairs;
}

LayerGeometry layer_geometry(const RecordHeader& header, std::int64_t num_rows, int layer) {
  if (layer < 0 || layer >= static_cast<int>(header.layers.size()))
    throw Error(Errc::invalid_argument, fmt::format("recorded layer index {} is outside 0..{}", layer,
                                                    static_cast<int>(header.layers.size()) - 1));
  const LayerParameters& parameters = header.layers[static_cast<std::size_t>(layer)];
  LayerGeometry geometry;
  geometry.mask = {.causal = parameters.causal, .window = parameters.window, .first_key = header.first_key};
  geometry.num_rows = num_rows;
  geometry.has_null_logit = std::any_of(parameters.null_logit_h.begin(), parameters.null_logit_h.end(),
                                        [](float logit) { return std::isfinite(logit); });
  return geometry;
}

Buffer<float> derive_statistic(std::string_view id, const LayerGeometry& geometry, int num_heads,
                               const StoredStatistic& stored) {
  if (const auto plain = base_statistic(id)) return derive_statistic(*plain, geometry, num_heads, base_of(stored));
  const StatisticInfo& info = require_statistic(id);
  if (info.kind == StatisticKind::head)
    throw Error(Errc::invalid_argument, fmt::format("'{}' has one value per head, none per row or column", id));
  if (info.recorded) return stored(id);
  if (id == "entropy_real") return entropy_real(stored);
  if (id == "entropy_normalized") return entropy_normalized(geometry, stored);
  if (id == "received_mean") return received_mean(geometry, stored);
  if (id == "visible_count") return visible_count(geometry, num_heads);
  HEADLIGHT_CHECK(id == "effective_support");
  return map_values(stored("entropy"), geometry.num_rows, [&](std::int64_t i, float entropy) {
    return geometry.visible_keys(i) > 0 ? std::exp(entropy) : kNan;
  });
}

Buffer<float> derive_head_statistic(std::string_view id, const LayerGeometry& geometry, int num_heads,
                                    const StoredStatistic& stored) {
  if (const auto plain = base_statistic(id)) return derive_head_statistic(*plain, geometry, num_heads, base_of(stored));
  const StatisticInfo& info = require_statistic(id);
  if (id == "jmax") throw Error(Errc::invalid_argument, "'jmax' is a position: it has no value per head");
  if (id == "received0") return received_first(geometry, num_heads, stored);
  if (id == "received_mean_max") return received_mean_max(geometry, num_heads, stored);
  if (id == "distance") return derive_head_statistic("dist1", geometry, num_heads, stored);

  const Buffer<float> values_hx = derive_statistic(id, geometry, num_heads, stored);
  if (info.kind == StatisticKind::column)
    return mean_over(values_hx, num_heads, geometry.num_rows,
                     [&](std::int64_t j) { return geometry.visible_rows(j) > 0; });
  const std::int64_t fewest = info.mean_counts_first_row ? 1 : 2;
  return mean_over(values_hx, num_heads, geometry.num_rows,
                   [&](std::int64_t i) { return geometry.visible_keys(i) >= fewest; });
}

std::vector<std::string> with_derived_statistics(const std::vector<std::string>& recorded) {
  const auto has = [&](std::string_view id) {
    return std::find(recorded.begin(), recorded.end(), id) != recorded.end();
  };
  const auto derivable = [&](std::string_view id) {
    if (id == "entropy_real") return has("entropy") && has("null_mass");
    if (id == "entropy_normalized" || id == "effective_support") return has("entropy");
    if (id == "distance") return has("dist1");
    return has("received");  // received_mean, visible_count, received0, received_mean_max
  };
  std::vector<std::string> all;
  for (const StatisticInfo& info : statistics()) {
    if (info.recorded ? has(info.id) : derivable(info.id)) all.emplace_back(info.id);
    if (info.id == "group_mass")
      for (const std::string& id : recorded)
        if (group_mass_segment(id)) all.push_back(id);
  }
  for (const std::string& id : recorded)
    if (base_statistic(id)) all.push_back(id);
  return all;
}

}  // namespace headlight::capture
