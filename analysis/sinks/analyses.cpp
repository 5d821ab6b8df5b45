#include <algorithm>

#include <fmt/format.h>

#include "analysis/builtin.h"
#include "analysis/record_shape.h"
#include "analysis/sinks/epsilon_sink.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kSinkEmerges = "When Attention Sink Emerges in Language Models: An Empirical View";

/// Sink rate of the layers with and of those without a window: they may not be mixed.
Table rates_by_kind(const RecordShape& shape, std::span<const double> alpha_lh, double epsilon) {
  Table table{.id = "by_attention",
              .title = "Sink rate by kind of layer",
              .columns = {"window", "layers", "rate_percent"},
              .rows = {}};
  std::vector<std::int64_t> windows;
  for (const auto& geometry : shape.geometry_l) windows.push_back(geometry.mask.window);
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  for (const std::int64_t window : windows) {
    std::vector<double> alpha;
    int layers = 0;
    for (int l = 0; l < shape.num_layers; ++l) {
      if (shape.geometry_l[static_cast<std::size_t>(l)].mask.window != window) continue;
      ++layers;
      alpha.insert(alpha.end(), alpha_lh.begin() + l * shape.num_heads, alpha_lh.begin() + (l + 1) * shape.num_heads);
    }
    table.rows.push_back({window, layers, sink_rate(alpha, epsilon)});
  }
  return table;
}

Series rate_curve(std::span<const double> alpha_lh) {
  Series curve{.id = "sink_rate_by_epsilon",
               .unit = "%",
               .formula = "100 mean_lh[ alpha0 > epsilon ], epsilon = 0.05, 0.10, ... 0.95",
               .axes = {"epsilon"},
               .shape = {19},
               .values = {},
               .low = 0.0,
               .high = 100.0};
  for (int step = 1; step <= 19; ++step) curve.values.push_back(sink_rate(alpha_lh, 0.05 * step));
  return curve;
}

AnalysisReport epsilon_sink(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const double epsilon = params["epsilon"];
  const std::int64_t tokens = params["tokens"];
  const ColumnMeanOptions options{.exclude_self = params["exclude_self"], .min_rows = params["min_rows"]};
  const auto width = static_cast<std::size_t>(shape.num_rows), heads = static_cast<std::size_t>(shape.num_heads);

  std::vector<double> alpha0_lh, sinks_j(width, 0.0), defined_j(width, 0.0);
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const auto first =
        first_token_means(input.capture.statistic(input.record, "first", l), geometry, tokens, options.exclude_self);
    alpha0_lh.insert(alpha0_lh.end(), first.begin(), first.end());
    const auto alpha_hj = column_means(input.capture.statistic(input.record, "received", l),
                                       input.capture.statistic(input.record, "off0", l), geometry, options);
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t j = 0; j < width; ++j) {
        const double rate = sink_rate({&alpha_hj[h * width + j], 1}, epsilon);
        if (rate != rate) continue;
        sinks_j[j] += rate;
        defined_j[j] += 1.0;
      }
  }
  for (std::size_t j = 0; j < width; ++j) sinks_j[j] = defined_j[j] > 0 ? sinks_j[j] / defined_j[j] : kUndefined;

  AnalysisReport report;
  const std::int64_t rows =
      tokens > 0 ? std::min(tokens, shape.num_rows - shape.first_key) : shape.num_rows - shape.first_key;
  report.series.push_back(
      number_series("sink_rate0", "%", "100 mean_lh[ alpha0 > epsilon ]", sink_rate(alpha0_lh, epsilon), 0, 100));
  report.series.push_back(rate_curve(alpha0_lh));
  report.series.push_back({.id = "sink_rate",
                           .unit = "%",
                           .formula = "100 mean_lh[ alpha(k) > epsilon ], alpha over all rows",
                           .axes = {"key"},
                           .shape = {shape.num_rows},
                           .values = std::move(sinks_j),
                           .low = 0,
                           .high = 100});
  report.tables.push_back(rates_by_kind(shape, alpha0_lh, epsilon));
  report.series.push_back(head_series("alpha0", "1",
                                      fmt::format("mean of A_ip over the first {} rows, p = first token", rows), shape,
                                      std::move(alpha0_lh)));
  report.notes.push_back(fmt::format("rates depend on the number of rows: {} were used for the first token", rows));
  if (tokens > rows)
    report.notes.push_back(fmt::format("the text is shorter than the {} tokens of the paper's protocol", tokens));
  return report;
}

}  // namespace

std::vector<Analysis> sink_analyses() {
  return {
      {.id = "epsilon-sink",
       .title = "Attention sinks by the epsilon metric",
       .summary = "How many heads give a key more than epsilon of their attention on average",
       .source = kSinkEmerges,
       .needs = {Need::row, Need::column},
       .by_default = true,
       .parameters = {{"epsilon", 0.3, 0.0, 1.0, "a head is a sink when the mean weight on the key is above this"},
                      {"tokens", 64, 0, 1 << 30, "rows that count for the first token; 0 = all"},
                      {"exclude_self", false, -kInfinity, kInfinity, "leave the weight of a token on itself out"},
                      {"min_rows", 8, 1, 1 << 30, "keys seen by fewer rows are left out of sink_rate"}},
       .run = epsilon_sink},
  };
}

}  // namespace headlight::analysis
