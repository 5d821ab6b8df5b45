#include "analysis/compare/head_distance.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/error.h"
#include "core/capture/replay.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kBlockRows = 16;

/// Query rows that both captures can replay, and the keys.
struct Extent {
  std::int64_t row_begin = 0, row_end = 0, num_keys = 0;
  std::int64_t num_rows() const { return row_end - row_begin; }
};

void add_rows(std::span<const float> a, std::span<const float> b, std::int64_t num_keys, HeadDistance& out) {
  double tv = 0, js = 0, worst = 0;
  const std::int64_t rows = std::ssize(a) / num_keys;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double p = a[k], q = b[k], m = 0.5 * (p + q);
    tv += 0.5 * std::abs(p - q);
    if (p > 0) js += 0.5 * p * std::log(p / m);
    if (q > 0) js += 0.5 * q * std::log(q / m);
    worst = std::max(worst, std::abs(p - q));
  }
  out.tv += tv / static_cast<double>(rows);
  out.js += js / static_cast<double>(rows);
  out.max_abs = std::max(out.max_abs, worst);
}

HeadDistance map_distance(const capture::CaptureView& a, const capture::CaptureView& b, const capture::HeadRef& ref_a,
                          const capture::HeadRef& ref_b, const Extent& extent, std::int64_t max_rows,
                          ThreadPool& pool) {
  HeadDistance distance;
  distance.tv = distance.js = distance.max_abs = 0;
  const std::int64_t num_keys = extent.num_keys;
  const std::int64_t blocks =
      std::max<std::int64_t>(1, std::min((extent.num_rows() + kBlockRows - 1) / kBlockRows, max_rows / kBlockRows));
  Buffer<float> rows_a(static_cast<std::size_t>(kBlockRows * num_keys)), rows_b(rows_a.size());
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin =
        extent.row_begin + (blocks == 1 ? 0 : block * (extent.num_rows() - kBlockRows) / (blocks - 1));
    const std::int64_t end = std::min(begin + kBlockRows, extent.row_end);
    const auto size = static_cast<std::size_t>((end - begin) * num_keys);
    const capture::TileRange tile{begin, end, 0, num_keys};
    capture::replay_tile(a, ref_a, tile, pool, std::span(rows_a.data(), size));
    capture::replay_tile(b, ref_b, tile, pool, std::span(rows_b.data(), size));
    add_rows(std::span<const float>(rows_a.data(), size), std::span<const float>(rows_b.data(), size), num_keys,
             distance);
  }
  distance.tv /= static_cast<double>(blocks);
  distance.js /= static_cast<double>(blocks);
  return distance;
}

void check_comparable(const capture::CaptureView& a, const capture::CaptureView& b) {
  const auto& ma = a.header().model;
  const auto& mb = b.header().model;
  if (ma.num_layers != mb.num_layers || ma.num_heads != mb.num_heads)
    throw Error(Errc::invalid_argument,
                fmt::format("the captures have different shapes: {} layers x {} heads and {} x {}", ma.num_layers,
                            ma.num_heads, mb.num_layers, mb.num_heads),
                {.file = b.name(), .field = {}, .offset = {}, .hint = {}});
}

// Tokens of the rows; a generated last token has no row.
bool same_tokens(const capture::RecordInfo& a, const capture::RecordInfo& b) {
  if (a.num_rows != b.num_rows) return false;
  const auto rows = static_cast<std::size_t>(a.num_rows);
  return std::ranges::equal(std::span(a.header.tokens).first(rows), std::span(b.header.tokens).first(rows),
                            [](const auto& x, const auto& y) { return x.id == y.id; });
}

std::string why_no_maps(const capture::RecordInfo& a, const capture::RecordInfo& b, const Extent& extent) {
  if (!same_tokens(a, b)) return "the tokens differ: only statistics are compared, not maps";
  if (!a.has_replay || !b.has_replay)
    return "a capture without q, k (level summary): only statistics are compared, not maps";
  if (extent.num_rows() <= 0) return "no query row is kept in both captures: only statistics are compared, not maps";
  return {};
}

}  // namespace

double distance_value(const HeadDistance& distance, std::string_view metric) {
  if (metric == "tv") return distance.tv;
  if (metric == "js") return distance.js;
  if (metric == "max") return distance.max_abs;
  if (metric == "entropy") return std::abs(distance.entropy);
  return std::abs(distance.received0);
}

HeadDistances head_distances(const capture::CaptureView& a, const capture::CaptureView& b,
                             const DistanceOptions& options, ThreadPool& pool, std::stop_token stop,
                             const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const std::int64_t in_a = options.record, in_b = options.record_b < 0 ? options.record : options.record_b;
  check_comparable(a, b);
  const auto record_a = a.record(in_a), record_b = b.record(in_b);
  const Extent extent{std::max(record_a.replay_row_begin, record_b.replay_row_begin),
                      std::min(record_a.replay_row_end, record_b.replay_row_end),
                      std::min(record_a.num_rows, record_b.num_rows)};
  if (options.base_of_a && !record_a.header.has_base)
    throw Error(Errc::invalid_argument, "was made without interventions that change rows of attention",
                {.file = a.name(), .field = {}, .offset = {}, .hint = {}});
  const std::string suffix = options.base_of_a ? "_base" : "";
  HeadDistances out;
  out.maps_missing = why_no_maps(record_a, record_b, extent);
  const auto entropy_a = a.head_statistic(in_a, "entropy" + suffix), entropy_b = b.head_statistic(in_b, "entropy");
  const auto received_a = a.head_statistic(in_a, "received0" + suffix),
             received_b = b.head_statistic(in_b, "received0");
  const auto& layers = a.header().plan.layers;
  const auto& other = b.header().plan.layers;
  const int num_heads = a.header().model.num_heads;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto it = std::find(other.begin(), other.end(), layers[l]);
    if (it == other.end()) continue;
    const auto index_a = static_cast<int>(l), index_b = static_cast<int>(it - other.begin());
    for (int h = 0; h < num_heads; ++h) {
      if (stop.stop_requested()) throw Error(Errc::cancelled, "comparison stopped");
      HeadDistance d;
      if (out.maps_missing.empty() && a.head_recorded(in_a, index_a, h) && b.head_recorded(in_b, index_b, h))
        d = map_distance(a, b, {in_a, index_a, h, options.base_of_a}, {in_b, index_b, h}, extent, options.max_rows,
                         pool);
      d.layer = layers[l];
      d.head = h;
      const auto at = [&](const Buffer<float>& values, int index) {
        return static_cast<double>(values[static_cast<std::size_t>(index * num_heads + h)]);
      };
      d.entropy = at(entropy_b, index_b) - at(entropy_a, index_a);
      d.received0 = at(received_b, index_b) - at(received_a, index_a);
      out.heads.push_back(d);
    }
    if (progress) progress(static_cast<std::int64_t>(l) + 1, std::ssize(layers));
  }
  if (out.heads.empty())
    throw Error(Errc::invalid_argument, "the captures share no recorded layer",
                {.file = b.name(), .field = {}, .offset = {}, .hint = {}});
  return out;
}

std::string sort_by_distance(std::vector<HeadDistance>& heads, const std::string& metric) {
  const auto undefined = [&](const HeadDistance& d) { return std::isnan(distance_value(d, metric)); };
  const std::string used = std::ranges::all_of(heads, undefined) ? "entropy" : metric;
  const auto rank = [&](const HeadDistance& d) {
    const double value = distance_value(d, used);
    return std::isnan(value) ? -kInfinity : value;
  };
  std::ranges::stable_sort(heads, std::greater{}, rank);
  return used;
}

std::optional<HeadDistance> first_departure(std::span<const HeadDistance> heads, std::string_view metric,
                                            double threshold) {
  std::optional<HeadDistance> first;
  for (const HeadDistance& d : heads) {
    const double value = distance_value(d, metric);
    if (!(value > threshold)) continue;
    if (!first || d.layer < first->layer || (d.layer == first->layer && value > distance_value(*first, metric)))
      first = d;
  }
  return first;
}

}  // namespace headlight::analysis
