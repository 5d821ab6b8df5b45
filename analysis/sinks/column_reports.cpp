// Analyses of what keys receive: they need row and column statistics only.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "analysis/sinks/epsilon_sink.h"
#include "analysis/sinks/hidden_sinks.h"
#include "analysis/sinks/makers.h"
#include "analysis/sinks/moving_sinks.h"
#include "analysis/sinks/window_mass.h"
#include "base/error.h"

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

/// Per cent of heads for which each key is a sink, over the heads where its mean is defined.
class RateOfKeys {
 public:
  explicit RateOfKeys(std::size_t width) : sinks_(width, 0.0), defined_(width, 0.0) {}
  void add(std::span<const double> alpha_hj, double epsilon) {
    for (std::size_t at = 0; at < alpha_hj.size(); ++at) {
      const double rate = sink_rate({&alpha_hj[at], 1}, epsilon);
      if (std::isnan(rate)) continue;
      sinks_[at % sinks_.size()] += rate;
      defined_[at % sinks_.size()] += 1.0;
    }
  }
  std::vector<double> percent() const {
    std::vector<double> rate(sinks_.size());
    for (std::size_t j = 0; j < rate.size(); ++j) rate[j] = defined_[j] > 0 ? sinks_[j] / defined_[j] : kUndefined;
    return rate;
  }

 private:
  std::vector<double> sinks_, defined_;
};

AnalysisReport epsilon_sink(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const double epsilon = params["epsilon"];
  const std::int64_t tokens = params["tokens"];
  const ColumnMeanOptions options{.exclude_self = params["exclude_self"], .min_rows = params["min_rows"]};
  std::vector<double> alpha0_lh;
  RateOfKeys rates(static_cast<std::size_t>(shape.num_rows));
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const auto first =
        first_token_means(input.capture.statistic(input.record, "first", l), geometry, tokens, options.exclude_self);
    alpha0_lh.insert(alpha0_lh.end(), first.begin(), first.end());
    rates.add(column_means(input.capture.statistic(input.record, "received", l),
                           input.capture.statistic(input.record, "off0", l), geometry, options),
              epsilon);
  }
  const std::int64_t valid = shape.num_rows - shape.first_key, rows = tokens > 0 ? std::min(tokens, valid) : valid;
  AnalysisReport report;
  report.series.push_back(
      number_series("sink_rate0", "%", "100 mean_lh[ alpha0 > epsilon ]", sink_rate(alpha0_lh, epsilon), 0, 100));
  report.series.push_back(rate_curve(alpha0_lh));
  report.series.push_back({.id = "sink_rate",
                           .unit = "%",
                           .formula = "100 mean_lh[ alpha(k) > epsilon ], alpha over all rows",
                           .axes = {"key"},
                           .shape = {shape.num_rows},
                           .values = rates.percent(),
                           .low = 0,
                           .high = 100});
  report.tables.push_back(rates_by_kind(shape, alpha0_lh, epsilon));
  report.series.push_back(head_series("alpha0", "1",
                                      fmt::format("mean of A_ip over the first {} rows, p = first token", rows), shape,
                                      std::move(alpha0_lh)));
  report.notes.push_back(fmt::format("rates depend on the number of rows: {} were used for the first token", rows));
  if (tokens > rows) report.notes.push_back(fmt::format("the text is shorter than the {} tokens asked for", tokens));
  return report;
}

Table sink_tokens(const AnalysisInput& input, std::span<const double> heads_j, std::int64_t count) {
  std::vector<std::int64_t> order;
  for (std::int64_t j = 0; j < std::ssize(heads_j); ++j)
    if (heads_j[static_cast<std::size_t>(j)] > 0) order.push_back(j);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return heads_j[static_cast<std::size_t>(a)] > heads_j[static_cast<std::size_t>(b)];
  });
  Table table{.id = "tokens",
              .title = "Tokens that are sinks, by number of heads",
              .columns = {"position", "token", "heads"},
              .rows = {}};
  const auto header = input.capture.record(input.record).header;
  for (std::size_t n = 0; n < order.size() && static_cast<std::int64_t>(n) < count; ++n)
    table.rows.push_back({order[n], token_text(header, order[n]), heads_j[static_cast<std::size_t>(order[n])]});
  return table;
}

AnalysisReport hidden_sink_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const bool released = params["compat"] == "repo";
  HiddenSinkOptions options{.relative = params["mode"] == "relative",
                            .threshold = params["threshold"],
                            .share = params["share"],
                            .min_rows = released ? 1 : params["min_rows"].get<std::int64_t>(),
                            .drop_first_found = released};
  const auto width = static_cast<std::size_t>(shape.num_rows);
  std::vector<double> heads_j(width, 0.0), mass_lh, count_l;
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const Buffer<float> received_hj = input.capture.statistic(input.record, "received", l);
    const auto sink_hj = hidden_sinks(column_means(received_hj, {}, geometry), geometry, options);
    const auto mass_h = hidden_sink_mass(sink_hj, received_hj, geometry);
    mass_lh.insert(mass_lh.end(), mass_h.begin(), mass_h.end());
    count_l.push_back(0.0);
    for (std::size_t at = 0; at < sink_hj.size(); ++at) {
      heads_j[at % width] += sink_hj[at];
      count_l.back() += sink_hj[at];
    }
  }
  AnalysisReport report;
  report.series.push_back(head_series("hidden_mass", "1", "sum_{j in S} received_j / N, S without the first token",
                                      shape, std::move(mass_lh)));
  report.series.push_back({"sinks",
                           "1",
                           "pairs (head, sink) of the layer",
                           {"layer"},
                           {shape.num_layers},
                           std::move(count_l),
                           0,
                           kInfinity});
  report.tables.push_back(sink_tokens(input, heads_j, params["top"]));
  report.series.push_back({"sink_heads",
                           "1",
                           "heads (of all layers) for which the key is a sink",
                           {"key"},
                           {shape.num_rows},
                           std::move(heads_j),
                           0,
                           static_cast<double>(shape.num_cells())});
  report.notes.emplace_back("the mean attention of late keys rests on few rows; keys below min_rows are left out");
  if (released)
    report.notes.emplace_back(
        "compat=repo: no minimum of rows, and the first key found is dropped even if it is not the first token");
  return report;
}

AnalysisReport window_mass_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& plan = input.capture.header().plan;
  std::vector<double> sink_lh, recent_lh, middle_lh, score_lh;
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto statistic = [&](const char* id) { return input.capture.statistic(input.record, id, l); };
    const WindowMass mass =
        window_mass(statistic("sink"), statistic("local"), statistic("null_mass"),
                    shape.geometry_l[static_cast<std::size_t>(l)], plan.sink_size, plan.local_window);
    sink_lh.insert(sink_lh.end(), mass.sink_h.begin(), mass.sink_h.end());
    recent_lh.insert(recent_lh.end(), mass.recent_h.begin(), mass.recent_h.end());
    middle_lh.insert(middle_lh.end(), mass.middle_h.begin(), mass.middle_h.end());
    for (std::size_t h = 0; h < mass.sink_h.size(); ++h) score_lh.push_back(mass.sink_h[h] + mass.recent_h[h]);
  }
  const double streaming = sink_rate(score_lh, params["streaming"].get<double>() - 1e-6);
  AnalysisReport report;
  report.series.push_back(
      number_series("streaming_share", "%", "100 mean_lh[ sink + recent >= streaming ]", streaming, 0, 100));
  report.series.push_back(head_series("sink", "1", fmt::format("mean_i mass on the first {} tokens", plan.sink_size),
                                      shape, std::move(sink_lh)));
  report.series.push_back(head_series(
      "recent", "1", fmt::format("mean_i mass on the last {} tokens", plan.local_window), shape, std::move(recent_lh)));
  report.series.push_back(head_series("middle", "1", "mean_i of the rest", shape, std::move(middle_lh)));
  report.series.push_back(head_series("streaming", "1", "sink + recent", shape, std::move(score_lh)));
  report.notes.push_back(
      fmt::format("window sizes are those of the capture: {} first and {} last tokens; a cheap prior, no replacement "
                  "for a gate that was learned",
                  plan.sink_size, plan.local_window));
  return report;
}

AnalysisReport sink_rate_length(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const double epsilon = params["epsilon"];
  std::vector<std::int64_t> lengths;
  for (const Json& length : params["lengths"])
    if (length.get<std::int64_t>() <= shape.num_rows - shape.first_key) lengths.push_back(length);
  std::vector<std::vector<double>> alpha(lengths.size());
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const Buffer<float> first_hi = input.capture.statistic(input.record, "first", l);
    for (std::size_t n = 0; n < lengths.size(); ++n) {
      const auto mean = first_token_means(first_hi, shape.geometry_l[static_cast<std::size_t>(l)], lengths[n]);
      alpha[n].insert(alpha[n].end(), mean.begin(), mean.end());
    }
  }
  AnalysisReport report;
  Table table{.id = "by_length",
              .title = "Sink rate of the first token by number of rows",
              .columns = {"tokens", "rate_percent", "mean_alpha0"},
              .rows = {}};
  for (std::size_t n = 0; n < lengths.size(); ++n)
    table.rows.push_back({lengths[n], sink_rate(alpha[n], epsilon), mean_defined(alpha[n])});
  report.tables.push_back(std::move(table));
  report.notes.emplace_back(
      "prefixes of one text: a causal row does not know how long the text is, so the rate falls or rises with the rows "
      "that are added");
  return report;
}

AnalysisReport moving_sinks_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto scale = params["scale"] == "percent" ? SinkScale::percent : SinkScale::column_sum;
  const double epsilon = params["epsilon"];
  const std::int64_t steps = input.capture.num_records(), width = shape.num_rows;
  std::vector<double> stability, lifetime, drift, margin, sinks(static_cast<std::size_t>(shape.num_cells()), 0.0);
  for (int l = 0; l < shape.num_layers; ++l) {
    std::vector<std::vector<double>> colsum_htj(static_cast<std::size_t>(shape.num_heads));
    for (std::int64_t r = 0; r < steps; ++r) {
      check_stop(stop);
      const Buffer<float> received = input.capture.statistic(r, "received", l);
      if (std::ssize(received) != shape.num_heads * width)
        throw Error(Errc::invalid_argument, "the records are steps of one generation and must have the same length");
      for (int h = 0; h < shape.num_heads; ++h) {
        auto& column = colsum_htj[static_cast<std::size_t>(h)];
        column.insert(column.end(), received.begin() + h * width, received.begin() + (h + 1) * width);
        const std::span<const double> step(column.end() - width, column.end());
        for (const std::uint8_t is_sink : bidirectional_sinks(step, epsilon, scale))
          sinks[static_cast<std::size_t>(l * shape.num_heads + h)] +=
              static_cast<double>(is_sink) / static_cast<double>(steps);
      }
    }
    for (const auto& column : colsum_htj) {
      const SinkMotion motion = sink_motion(column, width);
      stability.push_back(motion.stability);
      lifetime.push_back(motion.lifetime);
      drift.push_back(motion.drift);
      const auto margins = sink_margin(std::span(column).first(static_cast<std::size_t>(width)));
      margin.push_back(*std::max_element(margins.begin(), margins.end()));
    }
  }
  AnalysisReport report;
  report.series.push_back(
      head_series("sinks", "1", "mean over steps of the number of sinks", shape, std::move(sinks), 0, kInfinity));
  report.series.push_back(
      head_series("margin", "1", "max_j A(j) S/(S-1) - 1/(S-1) at the first step", shape, std::move(margin), -1, 1));
  report.series.push_back(
      head_series("stability", "1", "share of steps with p_t = p_{t-1}", shape, std::move(stability)));
  report.series.push_back(
      head_series("lifetime", "step", "mean run of equal p_t", shape, std::move(lifetime), 1, kInfinity));
  report.series.push_back(
      head_series("drift", "token", "mean of p_t - p_{t-1}", shape, std::move(drift), -kInfinity, kInfinity));
  report.notes.push_back(fmt::format("the {} records of the capture are taken as successive steps", steps));
  if (shape.geometry_l.front().mask.causal)
    report.notes.emplace_back(
        "the method is for bidirectional attention; in causal attention early keys are seen by more rows");
  return report;
}

}  // namespace

Analysis epsilon_sink_analysis() {
  return {.id = "epsilon-sink",
          .title = "Attention sinks by the epsilon metric",
          .summary = "How many heads give a key more than epsilon of their attention on average",
          .source = kSinkEmerges,
          .needs = {Need::row, Need::column},
          .parameters = {{"epsilon", 0.3, 0.0, 1.0, "a head is a sink when the mean weight on the key is above this"},
                         {"tokens", 64, 0, 1 << 30, "rows that count for the first token; 0 = all"},
                         {"exclude_self", false, -kInfinity, kInfinity, "leave the weight of a token on itself out"},
                         {"min_rows", 8, 1, 1 << 30, "keys seen by fewer rows are left out of sink_rate"}},
          .run = epsilon_sink};
}

Analysis hidden_sinks_analysis() {
  return {.id = "hidden-sinks",
          .title = "Sinks beyond the first token",
          .summary = "Keys that receive much attention on average, the first token left out",
          .source =
              "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training "
              "through Attention Calibration",
          .needs = {Need::column},
          .parameters = {{"mode",
                          "absolute",
                          -kInfinity,
                          kInfinity,
                          "mean above threshold, or above share / N",
                          {"absolute", "relative"}},
                         {"threshold", 0.1, 0.0, 1.0, "theta of mode absolute"},
                         {"share", 5.0, 0.0, kInfinity, "a of mode relative: times the uniform share"},
                         {"min_rows", 8, 1, 1 << 30, "keys seen by fewer rows are never sinks"},
                         {"compat",
                          "product",
                          -kInfinity,
                          kInfinity,
                          "repo: as the released program, with its first key dropped",
                          {"product", "repo"}},
                         {"top", 32, 1, 1 << 20, "tokens in the table"}},
          .run = hidden_sink_report};
}

Analysis window_mass_analysis() {
  return {.id = "window-mass",
          .title = "Mass on the first, the last and the other tokens",
          .summary = "How much of a head survives when only the first and the last tokens are kept",
          .source = "Efficient Streaming Language Models with Attention Sinks",
          .needs = {Need::row},
          .parameters = {{"streaming", 0.95, 0.0, 1.0, "a head streams when first and last tokens hold at least this"}},
          .run = window_mass_report};
}

Analysis sink_rate_length_analysis() {
  return {.id = "sink-rate-length",
          .title = "Sink rate against the length of the text",
          .summary = "How many heads are strong sinks at the first token, for prefixes of the text",
          .source = "Why do LLMs attend to the first token?",
          .needs = {Need::row},
          .parameters = {{"epsilon", 0.8, 0.0, 1.0, "a strong sink"},
                         {"lengths",
                          {64, 128, 256, 512, 1024, 2048, 4096},
                          1,
                          1 << 30,
                          "rows; longer ones than the text are left out"}},
          .run = sink_rate_length};
}

Analysis moving_sinks_analysis() {
  return {.id = "moving-sinks",
          .title = "Sinks that move over denoising steps",
          .summary = "Records as successive steps: where the strongest column is, how long it stays, how it drifts",
          .source = "Attention Sinks in Diffusion Language Models",
          .needs = {Need::column},
          .by_default = false,
          .parameters = {{"epsilon", 3.0, 0.0, kInfinity, "how far a column must stand out"},
                         {"scale",
                          "column_sum",
                          -kInfinity,
                          kInfinity,
                          "epsilon on sums of columns, or in per cent of attention",
                          {"column_sum", "percent"}}},
          .run = moving_sinks_report};
}

}  // namespace headlight::analysis
