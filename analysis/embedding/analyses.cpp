#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/attention_rows.h"
#include "analysis/builtin.h"
#include "analysis/embedding/joint_embedding.h"
#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

// Queries of all heads, then keys, around their common centre: [heads x positions + positions][dim].
std::vector<double> centred_points(const JointVectors& vectors) {
  std::vector<double> points = vectors.q_nd;
  points.insert(points.end(), vectors.k_nd.begin(), vectors.k_nd.end());
  const std::int64_t dim = vectors.dim, n = std::ssize(points) / dim;
  for (std::int64_t d = 0; d < dim; ++d) {
    double mean = 0.0;
    for (std::int64_t i = 0; i < n; ++i) mean += points[i * dim + d] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) points[i * dim + d] -= mean;
  }
  return points;
}

AnalysisReport matrix_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t points = params["points"];
  const auto kept = std::ssize(sample_rows(shape.first_key, shape.num_rows, points, 0));
  std::vector<double> quality_lh(shape.num_cells(), kUndefined), gap_lh(quality_lh);
  std::vector<double> query(shape.num_cells() * kept * 2, kUndefined);
  std::vector<double> key(static_cast<std::size_t>(shape.num_layers) * shape.num_kv_heads * kept * 2, kUndefined);
  std::vector<double> explained(static_cast<std::size_t>(shape.num_layers) * shape.num_kv_heads * 2, kUndefined);
  for (int l = 0; l < shape.num_layers; ++l)
    for (int g = 0; g < shape.num_kv_heads; ++g) {
      check_stop(stop);
      const auto recorded = recorded_heads(input.capture, input.record, l);
      if (std::none_of(recorded.begin(), recorded.end(), [&](int h) { return shape.kv_head(h) == g; })) continue;
      const auto embedded = embed_head(input.capture, input.record, l, g, points, input.pool, stop);
      const auto projected = principal_components(centred_points(embedded.vectors), shape.head_dim);
      for (std::size_t n = 0; n < embedded.query_heads.size(); ++n) {
        const std::int64_t cell = l * shape.num_heads + embedded.query_heads[n];
        quality_lh[cell] = embedded.quality;
        gap_lh[cell] = embedded.norm_gap;
        std::copy_n(projected.xy_n2.begin() + static_cast<std::ptrdiff_t>(n) * kept * 2, kept * 2,
                    query.begin() + cell * kept * 2);
      }
      const std::int64_t cell = l * shape.num_kv_heads + g;
      std::copy_n(projected.xy_n2.end() - kept * 2, kept * 2, key.begin() + cell * kept * 2);
      std::copy(projected.explained.begin(), projected.explained.end(), explained.begin() + cell * 2);
    }
  AnalysisReport report;
  report.series.push_back(head_series("quality", "1", "rank correlation of cosine distance and q.k (one per KV head)",
                                      shape, std::move(quality_lh), -1, 1));
  report.series.push_back(head_series("norm_gap", "1", "mean |q| - mean |k| before the transform (one per KV head)",
                                      shape, std::move(gap_lh), -kInfinity, kInfinity));
  report.series.push_back({.id = "query_xy",
                           .unit = "1",
                           .formula = "first two principal components of c q and (k + a) / c together",
                           .axes = {"layer", "head", "point", "axis"},
                           .shape = {shape.num_layers, shape.num_heads, kept, 2},
                           .values = std::move(query),
                           .low = -kInfinity,
                           .high = kInfinity});
  report.series.push_back({.id = "key_xy",
                           .unit = "1",
                           .formula = "the same, keys",
                           .axes = {"layer", "kv_head", "point", "axis"},
                           .shape = {shape.num_layers, shape.num_kv_heads, kept, 2},
                           .values = std::move(key),
                           .low = -kInfinity,
                           .high = kInfinity});
  report.series.push_back({.id = "explained",
                           .unit = "1",
                           .formula = "share of the variance of each axis",
                           .axes = {"layer", "kv_head", "axis"},
                           .shape = {shape.num_layers, shape.num_kv_heads, 2},
                           .values = std::move(explained)});
  report.notes.push_back(fmt::format("{} of {} positions, evenly spaced", kept, shape.num_rows));
  return report;
}

AnalysisReport tsne_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const int wanted = params["layer"], head = params["head"];
  const auto at = std::find(shape.layers.begin(), shape.layers.end(), wanted) - shape.layers.begin();
  if (at == shape.num_layers || head >= shape.num_heads)
    throw Error(Errc::invalid_argument, fmt::format("layer {} head {} is not recorded", wanted, head));
  const auto embedded = embed_head(input.capture, input.record, static_cast<int>(at), shape.kv_head(head),
                                   params["points"], input.pool, stop);
  const TsneOptions options{
      .perplexity = params["perplexity"], .iterations = params["iterations"], .seed = params["seed"]};
  auto projected = tsne(centred_points(embedded.vectors), shape.head_dim, options, input.pool, stop);
  const auto count = std::ssize(projected.xy_n2) / 2, kept = std::ssize(embedded.positions);
  const auto info = input.capture.record(input.record);
  Table table{
      .id = "points", .title = "Points of the picture", .columns = {"kind", "head", "token", "text"}, .rows = {}};
  for (std::int64_t n = 0; n < count; ++n) {
    const bool is_query = n < count - kept;
    const std::int64_t j = embedded.positions[n % kept];
    table.rows.push_back({is_query ? "query" : "key", is_query ? Json(embedded.query_heads[n / kept]) : Json(nullptr),
                          j, token_text(info.header, j)});
  }
  AnalysisReport report;
  report.tables.push_back(std::move(table));
  report.series.push_back({.id = "xy",
                           .unit = "1",
                           .formula = "t-SNE of c q and (k + a) / c together, cosine distance",
                           .axes = {"point", "axis"},
                           .shape = {count, 2},
                           .values = std::move(projected.xy_n2),
                           .low = -kInfinity,
                           .high = kInfinity});
  report.series.push_back(
      number_series("quality", "1", "rank correlation of cosine distance and q.k", embedded.quality, -1, 1));
  return report;
}

}  // namespace

std::vector<Analysis> embedding_analyses() {
  constexpr std::string_view kSource = "AttentionViz: A Global View of Transformer Attention";
  return {
      {.id = "joint-embedding",
       .title = "Joint embedding of queries and keys",
       .summary =
           "Queries and keys of every head in one plane (principal components), and how well distance shows score",
       .source = kSource,
       .needs = {Need::row, Need::qkv},
       .by_default = true,
       .parameters = {{"points", 128, 8, 2000, "positions per head, evenly spaced", {}}},
       .run = matrix_report},
      {.id = "joint-tsne",
       .title = "Joint embedding of one head by t-SNE",
       .summary = "Queries and keys of one KV head in one plane, neighbourhoods kept",
       .source = kSource,
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"layer", 0, 0, 1 << 20, "of the model", {}},
                      {"head", 0, 0, 1 << 20, "query head; all heads of its KV group are shown", {}},
                      {"points", 256, 8, 2000, "positions, evenly spaced", {}},
                      {"perplexity", 30.0, 2.0, 500.0, "effective number of neighbours", {}},
                      {"iterations", 500, 1, 10000, "steps of the descent", {}},
                      {"seed", 0, 0, 1 << 30, "of the starting positions", {}}},
       .run = tsne_report},
  };
}

}  // namespace headlight::analysis
