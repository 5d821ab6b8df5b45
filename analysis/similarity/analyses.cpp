#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "analysis/builtin.h"
#include "analysis/learning/ranking.h"
#include "analysis/record_shape.h"
#include "analysis/similarity/elastic_span.h"
#include "analysis/similarity/head_similarity.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kPairsShown = 20;

struct Measure {
  std::string_view name, formula;
  RowMeasure id;
  bool is_distance;
};
constexpr std::array<Measure, 5> kMeasures = {{
    {"cosine", "mean_i a.b / (|a| |b|)", RowMeasure::cosine, false},
    {"jensen-shannon", "mean_i (KL(a|m) + KL(b|m)) / (2 ln 2), m = (a + b) / 2", RowMeasure::jensen_shannon, true},
    {"total-variation", "mean_i sum_j |a_j - b_j| / 2", RowMeasure::total_variation, true},
    {"top-overlap", "mean_i |T_k(a) n T_k(b)| / k", RowMeasure::top_overlap, false},
    {"recovered-mass", "mean_i sum of a over T_k(b)", RowMeasure::recovered_mass, false},
}};

const Measure& measure_named(const std::string& name) {
  return *std::find_if(kMeasures.begin(), kMeasures.end(), [&](const Measure& m) { return m.name == name; });
}

Series head_pairs(std::string id, std::string formula, const RecordShape& shape, std::vector<double> values,
                  double low = 0.0) {
  return {.id = std::move(id),
          .unit = "1",
          .formula = std::move(formula),
          .axes = {"layer", "head", "other_head"},
          .shape = {shape.num_layers, shape.num_heads, shape.num_heads},
          .values = std::move(values),
          .low = low};
}

Series layer_pairs(std::string id, std::string formula, const RecordShape& shape, std::vector<double> values,
                   double low = 0.0) {
  return {.id = std::move(id),
          .unit = "1",
          .formula = std::move(formula),
          .axes = {"layer", "other_layer"},
          .shape = {shape.num_layers, shape.num_layers},
          .values = std::move(values),
          .low = low};
}

// Pairs a < b of [n][n] values, the best first.
Table closest_pairs(std::span<const double> value_ab, std::int64_t n, bool smallest,
                    const std::function<std::string(std::int64_t)>& name) {
  std::vector<double> rank(value_ab.size(), kUndefined);
  for (std::int64_t a = 0; a < n; ++a)
    for (std::int64_t b = a + 1; b < n; ++b) rank[a * n + b] = smallest ? -value_ab[a * n + b] : value_ab[a * n + b];
  Table table{.id = "closest", .title = "Pairs that are most alike", .columns = {"a", "b", "value"}, .rows = {}};
  for (const std::int64_t at : largest(rank, kPairsShown))
    table.rows.push_back({name(at / n), name(at % n), value_ab[at]});
  return table;
}

// The same within layers, for [L][H][H].
Table closest_in_layers(std::span<const double> value_lab, const RecordShape& shape, bool smallest) {
  const std::int64_t cells = static_cast<std::int64_t>(shape.num_cells()), heads = shape.num_heads;
  std::vector<double> value_ab(cells * cells, kUndefined);
  for (std::int64_t a = 0; a < cells; ++a)
    for (std::int64_t h = 0; h < heads; ++h) value_ab[a * cells + a / heads * heads + h] = value_lab[a * heads + h];
  return closest_pairs(value_ab, cells, smallest, [&](std::int64_t at) { return cell_name(shape, at); });
}

// Merges of layers, the most alike first.
Table layer_tree(std::span<const double> value_lm, const RecordShape& shape, const Measure& measure) {
  const std::int64_t n = shape.num_layers;
  std::vector<double> distance_lm;
  for (std::int64_t a = 0; a < n; ++a)
    for (std::int64_t b = 0; b < n; ++b) {
      const double value = 0.5 * (value_lm[a * n + b] + value_lm[b * n + a]);
      distance_lm.push_back(measure.id == RowMeasure::jensen_shannon ? std::sqrt(value)
                            : measure.is_distance                    ? value
                                                                     : 1.0 - value);
    }
  std::vector<std::string> name;
  for (const int layer : shape.layers) name.push_back(fmt::format("{}", layer));
  Table table{
      .id = "layer_tree", .title = "Layers merged by average linkage", .columns = {"a", "b", "distance"}, .rows = {}};
  for (const Merge& merge : average_linkage(distance_lm, n)) {
    table.rows.push_back({name[merge.a], name[merge.b], merge.distance});
    name.push_back(fmt::format("({} {})", name[merge.a], name[merge.b]));
  }
  return table;
}

AnalysisReport row_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const Measure& measure = measure_named(params["measure"]);
  const RowSampleOptions options{
      .rows = params["rows"], .tail = params["tail"], .drop_sink = params["drop_sink"], .top_k = params["top_k"]};
  auto result = row_similarity(input.capture, input.record, measure.id, options, input.pool, stop);
  AnalysisReport report;
  report.notes.push_back(fmt::format("{} of {} rows were compared", result.rows, shape.num_rows));
  if (options.drop_sink > 0)
    report.notes.push_back(fmt::format("the first {} keys are left out and rows renormalised", options.drop_sink));
  if (!measure.is_distance) {
    const double threshold = params["shareable"];
    const LayerBlock block = longest_similar_block(result.layer_mean_lm, shape.num_layers, threshold);
    report.notes.push_back(
        block.end == block.begin
            ? fmt::format("no two neighbouring middle layers are {} alike", threshold)
            : fmt::format("layers {} to {} are the longest middle run whose neighbours are at least {} alike",
                          shape.layers[block.begin], shape.layers[block.end - 1], threshold));
  }
  report.tables.push_back(closest_in_layers(result.mean_lab, shape, measure.is_distance));
  report.tables.push_back(layer_tree(result.layer_mean_lm, shape, measure));
  const std::string formula(measure.formula);
  report.series.push_back(head_pairs("heads", formula, shape, std::move(result.mean_lab)));
  report.series.push_back(
      head_pairs("heads_error", "standard error of heads over rows", shape, std::move(result.error_lab)));
  report.series.push_back(
      layer_pairs("layers", formula + " of head-averaged rows", shape, std::move(result.layer_mean_lm)));
  report.series.push_back(
      layer_pairs("layers_error", "standard error of layers over rows", shape, std::move(result.layer_error_lm)));
  return report;
}

AnalysisReport cka_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t rows = params["rows"];
  auto cka_lab = output_cka(input.capture, input.record, rows, input.pool, stop);
  AnalysisReport report;
  report.tables.push_back(closest_in_layers(cka_lab, shape, false));
  report.series.push_back(head_pairs("output_cka",
                                     "|Xc' Yc|^2 / (|Xc' Xc| |Yc' Yc|) of head outputs o_i = sum_j A_ij v_j", shape,
                                     std::move(cka_lab)));
  report.notes.push_back(
      fmt::format("over {} of {} rows, row 0 left out", std::min(rows, shape.num_rows - 1), shape.num_rows));
  if (std::min(rows, shape.num_rows - 1) < 4 * shape.head_dim)
    report.notes.push_back(fmt::format("with fewer than {} rows (4 x head dimension) the values are biased towards 1",
                                       4 * shape.head_dim));
  return report;
}

AnalysisReport profile_report(const AnalysisInput& input, const Json& params, const std::stop_token&) {
  const RecordShape shape = record_shape(input);
  const ProfileOptions options{.drop_sink = params["drop_sink"], .per_row = params["per_row"]};
  auto result = profile_similarity(input.capture, input.record, options);
  const std::string formula = options.per_row ? "rank correlation over keys of received_mean_j"
                                              : "rank correlation over keys of received_j = sum_i A_ij";
  AnalysisReport report;
  const auto cells = static_cast<std::int64_t>(shape.num_cells());
  report.tables.push_back(
      closest_pairs(result.head_ab, cells, false, [&](std::int64_t at) { return cell_name(shape, at); }));
  report.series.push_back(
      layer_pairs("layers", formula + ", summed over heads", shape, std::move(result.layer_lm), -1));
  report.series.push_back({.id = "heads",
                           .unit = "1",
                           .formula = formula,
                           .axes = {"cell", "other_cell"},
                           .shape = {cells, cells},
                           .values = std::move(result.head_ab),
                           .low = -1.0});
  report.notes.emplace_back("cell = index of the layer x heads + head");
  if (!options.per_row)
    report.notes.emplace_back("sums over rows favour early keys in every causal head: per_row takes that out");
  return report;
}

AnalysisReport span_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const SpanCoverageOptions options{
      .sink = params["sink"], .coverage = params["coverage"], .rows = params["rows"], .block = params["block"]};
  auto result = span_coverage(input.capture, input.record, options, input.pool, stop);
  AnalysisReport report;
  report.series.push_back(number_series("density", "1", "mean_lh span / N", result.density));
  report.series.push_back(head_series(
      "span", "token",
      fmt::format("smallest S whose first {} and last S - {} tokens hold {} of the attention, mean over rows",
                  options.sink, options.sink, options.coverage),
      shape, std::move(result.span_lh), 0, kInfinity));
  report.notes.emplace_back(
      "spans follow the attention alone; MoA searches them by their effect on the loss, which needs gradients");
  return report;
}

Parameter drop_sink_parameter() {
  return {
      "drop_sink", 4, 0, 1 << 20, "first keys left out before anything is compared; sinks make all heads look alike",
      {}};
}

}  // namespace

std::vector<Analysis> similarity_analyses() {
  std::vector<std::string_view> measures;
  for (const Measure& measure : kMeasures) measures.push_back(measure.name);
  return {
      {.id = "row-similarity",
       .title = "Similarity of heads and layers, row by row",
       .summary = "How alike the attention rows of heads of one layer, and of layers, are",
       .source = "EchoAtt: Attend, Copy, then Adjust for More Efficient Large Language Models",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters =
           {{"measure", "cosine", -kInfinity, kInfinity, "how two rows are compared", measures},
            {"rows", 128, 1, 1 << 20, "sampled rows, evenly spaced, and the last ones", {}},
            {"tail", 32, 0, 1 << 20, "of them, the last rows", {}},
            {"top_k", 64, 1, 1 << 20, "entries of top-overlap and recovered-mass", {}},
            {"shareable", 0.9, 0.0, 1.0, "similarity from which neighbouring layers could share attention", {}},
            drop_sink_parameter()},
       .run = row_report},
      {.id = "output-cka",
       .title = "Similarity of head outputs",
       .summary = "Linear centred kernel alignment of what the heads of a layer write",
       .source = "Similarity of Neural Network Representations Revisited",
       .needs = {Need::row, Need::qkv},
       .by_default = true,
       .parameters = {{"rows", 256, 2, 1 << 20, "sampled rows, evenly spaced", {}}},
       .run = cka_report},
      {.id = "received-profile",
       .title = "Similarity of what keys receive",
       .summary = "Rank correlation of the attention received by every key, between heads and between layers",
       .source = "definition",
       .needs = {Need::column},
       .by_default = true,
       .parameters = {drop_sink_parameter(),
                      {"per_row", false, -kInfinity, kInfinity, "divide by the rows that see the key", {}}},
       .run = profile_report},
      {.id = "span-coverage",
       .title = "How far each head has to see",
       .summary = "Smallest sink-and-window span that holds a share of the attention",
       .source = "MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"sink", 64, 0, 1 << 20, "first tokens that are always kept", {}},
                      {"coverage", 0.95, 0.0, 1.0, "share of the attention that must be kept", {}},
                      {"rows", 128, 1, 1 << 20, "sampled rows, the last 32 among them", {}},
                      {"block", 64, 1, 1 << 20, "spans are multiples of it", {}}},
       .run = span_report},
  };
}

}  // namespace headlight::analysis
