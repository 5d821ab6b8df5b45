// Analyses of recorded row statistics and block sums.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "analysis/entropy/block_entropy.h"
#include "analysis/entropy/head_health.h"
#include "analysis/entropy/makers.h"
#include "analysis/entropy/row_entropy.h"
#include "analysis/record_shape.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kEntropyGuided = "Entropy-Guided Attention for Private LLMs";

EntropyNorm norm_of(const Json& name) {
  return name == "visible" ? EntropyNorm::visible : name == "context" ? EntropyNorm::context : EntropyNorm::none;
}

/// Means over heads of values [heads][N]: per row, and per bucket of rows.
struct AlongText {
  std::vector<double> sum_i, count_i;
  explicit AlongText(std::size_t width) : sum_i(width, 0.0), count_i(width, 0.0) {}
  void add(std::size_t i, double value) {
    if (std::isnan(value)) return;
    sum_i[i] += value;
    count_i[i] += 1.0;
  }
  std::vector<double> buckets(std::size_t edge) const {
    std::vector<double> mean;
    for (std::size_t begin = 0; begin < sum_i.size(); begin += edge) {
      double sum = 0.0, count = 0.0;
      for (std::size_t i = begin; i < std::min(begin + edge, sum_i.size()); ++i) {
        sum += sum_i[i];
        count += count_i[i];
      }
      mean.push_back(count > 0 ? sum / count : kUndefined);
    }
    return mean;
  }
};

AnalysisReport entropy_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const EntropyNorm norm = norm_of(params["norm"]);
  const auto width = static_cast<std::size_t>(shape.num_rows), bucket = params["bucket"].get<std::size_t>();
  std::vector<double> mean, deviation, quantiles, layer_mean, curve;
  AlongText text(width);
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const Buffer<float> entropy_hi = input.capture.statistic(input.record, "entropy", l);
    AlongText of_layer(width);
    for (std::size_t h = 0; h < static_cast<std::size_t>(shape.num_heads); ++h) {
      const auto value_i = normalized_entropy({entropy_hi.data() + h * width, width}, geometry, norm);
      const double maximum =
          norm == EntropyNorm::none ? std::log(static_cast<double>(std::max<std::int64_t>(2, shape.num_rows))) : 1.0;
      const EntropySummary summary = summarize_entropy(value_i, maximum);
      mean.push_back(summary.mean);
      deviation.push_back(summary.deviation);
      quantiles.insert(quantiles.end(), summary.quantiles.begin(), summary.quantiles.end());
      for (std::size_t i = 0; i < width; ++i) {
        of_layer.add(i, value_i[i]);
        text.add(i, value_i[i]);
      }
    }
    layer_mean.push_back(mean_defined(std::span(mean).last(static_cast<std::size_t>(shape.num_heads))));
    const auto buckets = of_layer.buckets(bucket);
    curve.insert(curve.end(), buckets.begin(), buckets.end());
  }
  const char* unit = norm == EntropyNorm::none ? "nat" : "1";
  const double high = norm == EntropyNorm::none ? kInfinity : 1.0;
  const std::string formula = norm == EntropyNorm::visible   ? "H_i / ln n_i"
                              : norm == EntropyNorm::context ? "H_i / ln N"
                                                             : "H_i = -sum_j A_ij ln A_ij";
  AnalysisReport report;
  report.series.push_back(
      {"layer_mean", unit, "mean over heads of mean", {"layer"}, {shape.num_layers}, std::move(layer_mean), 0, high});
  report.series.push_back(head_series("mean", unit, "mean_i " + formula, shape, std::move(mean), 0, high));
  report.series.push_back(
      head_series("deviation", unit, "standard deviation over rows", shape, std::move(deviation), 0, high));
  report.series.push_back({"quantiles",
                           unit,
                           "0.05, 0.25, 0.5, 0.75, 0.95 over rows, from 64 bins",
                           {"layer", "head", "quantile"},
                           {shape.num_layers, shape.num_heads, 5},
                           std::move(quantiles),
                           0,
                           high});
  report.series.push_back({"by_position",
                           unit,
                           fmt::format("mean over heads and {} rows", bucket),
                           {"layer", "bucket"},
                           {shape.num_layers, static_cast<std::int64_t>((width + bucket - 1) / bucket)},
                           std::move(curve),
                           0,
                           high});
  report.series.push_back({"by_token",
                           unit,
                           "mean over layers and heads of the row",
                           {"query"},
                           {shape.num_rows},
                           text.buckets(1),
                           0,
                           high});
  if (norm == EntropyNorm::context)
    report.notes.emplace_back("early rows see few keys and look collapsed when divided by ln N");
  for (const auto& geometry : shape.geometry_l)
    if (geometry.has_null_logit && report.notes.empty())
      report.notes.emplace_back("the learned sink counts as one outcome; the statistic entropy_real leaves it out");
  return report;
}

AnalysisReport head_health_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const HealthOptions options{
      .overloaded = params["overloaded"], .collapsed = params["collapsed"], .sink = params["sink"]};
  const double most = std::log(static_cast<double>(std::max<std::int64_t>(2, shape.num_rows - shape.first_key)));
  const Buffer<float> entropy = input.capture.head_statistic(input.record, "entropy");
  const Buffer<float> normalized = input.capture.head_statistic(input.record, "entropy_normalized");
  const Buffer<float> sink = input.capture.head_statistic(input.record, "sink");
  const std::vector<double> entropy_lh(entropy.begin(), entropy.end());
  std::vector<Health> health;
  Table heads{.id = "heads",
              .title = "Heads that are not healthy",
              .columns = {"head", "kind", "entropy_normalized", "sink"},
              .rows = {}};
  for (std::size_t at = 0; at < entropy.size(); ++at) {
    health.push_back(head_health(normalized[at], sink[at], options));
    if (health.back() != Health::healthy && health.back() != Health::undefined)
      heads.rows.push_back({cell_name(shape, at), to_string(health.back()), normalized[at], sink[at]});
  }
  double largest = 0.0;
  for (const double value : entropy_lh) largest = std::isnan(value) ? largest : std::max(largest, value);
  std::vector<double> bands, penalty;
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto share = entropy_bands(
        std::span(entropy_lh)
            .subspan(static_cast<std::size_t>(l * shape.num_heads), static_cast<std::size_t>(shape.num_heads)),
        params["strict"] ? most : largest);
    bands.insert(bands.end(), share.begin(), share.end());
    const Buffer<float> entropy_hi = input.capture.statistic(input.record, "entropy", l);
    for (std::int64_t h = 0; h < shape.num_heads; ++h) {
      const std::vector<double> rows(entropy_hi.begin() + h * shape.num_rows + shape.first_key,
                                     entropy_hi.begin() + (h + 1) * shape.num_rows);
      penalty.push_back(entropy_penalty(rows, most, params["theta"], params["gamma"]));
    }
  }
  const HealthAlarm alarm = health_alarm(health, shape.num_layers, shape.num_heads);
  AnalysisReport report;
  report.series.push_back(
      number_series("alarm", "1", "1 when overloaded_early >= 0.25 or collapsed_late >= 0.10", alarm.raised ? 1 : 0));
  report.series.push_back(number_series("overloaded_early", "1", "overloaded share of the first third of the layers",
                                        alarm.overloaded_early));
  report.series.push_back(
      number_series("collapsed_late", "1", "collapsed share of the last third of the layers", alarm.collapsed_late));
  report.series.push_back({"bands",
                           "1",
                           "share of heads by mean entropy in quarters of the maximum",
                           {"layer", "band"},
                           {shape.num_layers, 4},
                           std::move(bands),
                           0,
                           1});
  report.series.push_back(head_series("penalty", "nat2",
                                      "mean_i 1[|H_i - theta ln N| > gamma ln N] (H_i - theta ln N)^2", shape,
                                      std::move(penalty), 0, kInfinity));
  report.tables.push_back(std::move(heads));
  report.notes.emplace_back("the paper publishes no thresholds for single heads; these are ours");
  return report;
}

AnalysisReport block_entropy_report(const AnalysisInput& input, const Json&, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const capture::RecordInfo info = input.capture.record(input.record);
  const Buffer<float> row_entropy = input.capture.head_statistic(input.record, "entropy");
  std::vector<double> normalized_lh, ratio_lh;
  for (int l = 0; l < shape.num_layers; ++l)
    for (int h = 0; h < shape.num_heads; ++h) {
      check_stop(stop);
      const BlockEntropy blocks = block_entropy(input.capture.block_sum(input.record, l, h), info.block_edge,
                                                shape.geometry_l[static_cast<std::size_t>(l)]);
      const double rows = row_entropy[static_cast<std::size_t>(l * shape.num_heads + h)];
      normalized_lh.push_back(mean_defined(blocks.normalized));
      ratio_lh.push_back(rows > 0 ? mean_defined(blocks.entropy) / rows : kUndefined);
    }
  AnalysisReport report;
  report.series.push_back(head_series("normalized", "1", "mean over blocks of rows of H_I / ln(visible blocks)", shape,
                                      std::move(normalized_lh)));
  report.series.push_back(head_series("ratio", "1",
                                      "mean_I H_I / mean_i H_i: spread over blocks against spread over keys", shape,
                                      std::move(ratio_lh), 0, kInfinity));
  report.notes.push_back(fmt::format("blocks of {} tokens, from the recorded overview (16-bit sums)", info.block_edge));
  return report;
}

}  // namespace

Analysis entropy_analysis() {
  return {.id = "entropy",
          .title = "Entropy of rows",
          .summary = "How evenly heads spread their attention, per head, along the layers and along the text",
          .source = kEntropyGuided,
          .needs = {Need::row},
          .parameters = {{"norm",
                          "visible",
                          -kInfinity,
                          kInfinity,
                          "divide by ln of the visible keys, by ln N, or not",
                          {"visible", "context", "none"}},
                         {"bucket", 128, 1, 1 << 20, "rows of a point of by_position"}},
          .run = entropy_report};
}

Analysis head_health_analysis() {
  return {.id = "head-health",
          .title = "Entropic overload and entropy collapse",
          .summary = "Heads that look everywhere, and heads that look at one key without being sinks",
          .source = kEntropyGuided,
          .needs = {Need::row},
          .parameters = {{"overloaded", 0.9, 0.0, 1.0, "normalised entropy from which a head is overloaded"},
                         {"collapsed", 0.05, 0.0, 1.0, "normalised entropy up to which it is collapsed"},
                         {"sink", 0.5, 0.0, 1.0, "mass on the first tokens from which a collapsed head is a sink"},
                         {"strict", false, -kInfinity, kInfinity,
                          "bands relative to ln N instead of the largest mean entropy"},
                         {"theta", 0.5, 0.0, 1.0, "of the penalty: target entropy over ln N"},
                         {"gamma", 0.2, 0.0, 1.0, "of the penalty: tolerance over ln N"}},
          .run = head_health_report};
}

Analysis block_entropy_analysis() {
  return {.id = "block-entropy",
          .title = "Entropy over blocks",
          .summary = "Whether attention spreads over blocks of the text or inside them",
          .source = "definition",
          .needs = {Need::row, Need::block},
          .run = block_entropy_report};
}

}  // namespace headlight::analysis
