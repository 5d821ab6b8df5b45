#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/attention_rows.h"
#include "analysis/attribution/attention_flow.h"
#include "analysis/attribution/cache_scores.h"
#include "analysis/attribution/norm_weighted.h"
#include "analysis/attribution/perturbation.h"
#include "analysis/attribution/rollout.h"
#include "analysis/builtin.h"
#include "analysis/learning/ranking.h"
#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kTokensShown = 10;
constexpr std::size_t kMaxTargets = 16;
constexpr std::string_view kFlowPaper = "Quantifying Attention Flow in Transformers";

Series key_series(std::string id, std::string formula, std::vector<double> value_j, std::string unit = "1",
                  double high = 1.0) {
  const auto n = static_cast<std::int64_t>(value_j.size());
  return {.id = std::move(id),
          .unit = std::move(unit),
          .formula = std::move(formula),
          .axes = {"key"},
          .shape = {n},
          .values = std::move(value_j),
          .low = 0.0,
          .high = high};
}

Series layer_key_series(std::string id, std::string formula, const RecordShape& shape, std::vector<double> value_lj) {
  return {.id = std::move(id),
          .unit = "1",
          .formula = std::move(formula),
          .axes = {"layer", "key"},
          .shape = {shape.num_layers, shape.num_rows},
          .values = std::move(value_lj),
          .low = 0.0,
          .high = kInfinity};
}

void add_top_tokens(Table& table, const capture::RecordHeader& header, const Json& label,
                    std::span<const double> value_j) {
  for (const std::int64_t j : largest(value_j, kTokensShown))
    table.rows.push_back({label, j, token_text(header, j), value_j[j]});
}

std::vector<std::int64_t> targets_of(const Json& params, std::int64_t num_rows) {
  std::vector<std::int64_t> targets;
  for (const Json& target : params["targets"]) {
    const auto row = static_cast<std::int64_t>(target.get<double>());
    targets.push_back(row < 0 ? num_rows + row : row);
  }
  if (targets.size() > kMaxTargets)
    throw Error(Errc::invalid_argument,
                fmt::format("rollout takes at most {} targets, found {}", kMaxTargets, targets.size()));
  if (targets.empty()) targets.push_back(num_rows - 1);
  return targets;
}

std::string rollout_note(const RecordShape& shape, const AnalysisInput& input) {
  const int layers = input.capture.header().model.num_layers;
  return shape.num_layers == layers
             ? ""
             : fmt::format("the product runs over the {} recorded of {} layers", shape.num_layers, layers);
}

void note_coverage(AnalysisReport& report, const RecordShape& shape, const AnalysisInput& input) {
  if (auto note = rollout_note(shape, input); !note.empty()) report.notes.push_back(std::move(note));
  bool all = true;
  for (int l = 0; l < shape.num_layers; ++l)
    all = all && static_cast<int>(recorded_heads(input.capture, input.record, l).size()) == shape.num_heads;
  if (!all) report.notes.emplace_back("heads are averaged over the recorded ones only");
}

AnalysisReport rollout_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  const auto targets = targets_of(params, shape.num_rows);
  RolloutOptions options{.residual = params["residual"], .drop_sink = params["drop_sink"]};
  auto attr_tj = rollout(input.capture, input.record, targets, options, input.pool, stop);
  AnalysisReport report;
  Table table{.id = "sources",
              .title = "Tokens with the largest share",
              .columns = {"target", "token", "text", "share"},
              .rows = {}};
  for (std::size_t t = 0; t < targets.size(); ++t)
    add_top_tokens(table, info.header, targets[t],
                   std::span(attr_tj).subspan(t * static_cast<std::size_t>(shape.num_rows),
                                              static_cast<std::size_t>(shape.num_rows)));
  report.tables.push_back(std::move(table));
  report.series.push_back({.id = "rollout",
                           .unit = "1",
                           .formula = "row of M[L-1] ... M[0], M = (1 - r) mean_h A + r I",
                           .axes = {"target", "key"},
                           .shape = {static_cast<std::int64_t>(targets.size()), shape.num_rows},
                           .values = std::move(attr_tj)});
  note_coverage(report, shape, input);
  if (options.drop_sink == 0)
    report.notes.emplace_back("sinks dominate rollout: drop_sink takes the first keys out of every row");
  return report;
}

HeadFusion fusion_named(const std::string& name) {
  return name == "mean" ? HeadFusion::mean : name == "max" ? HeadFusion::max : HeadFusion::min;
}

AnalysisReport full_rollout_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const RolloutOptions options{.residual = params["residual"],
                               .fusion = fusion_named(params["fusion"]),
                               .discard = params["discard"],
                               .drop_sink = params["drop_sink"]};
  AnalysisReport report;
  report.series.push_back({.id = "rollout",
                           .unit = "1",
                           .formula = "M[L-1] ... M[0], M = (1 - r) fused A + r I",
                           .axes = {"query", "key"},
                           .shape = {shape.num_rows, shape.num_rows},
                           .values = full_rollout(input.capture, input.record, options, input.pool, stop)});
  note_coverage(report, shape, input);
  return report;
}

AnalysisReport flow_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  if (shape.num_rows > 256)
    throw Error(Errc::invalid_argument,
                fmt::format("attention flow takes at most 256 rows, the record has {}", shape.num_rows));
  const RolloutOptions mixing{.residual = params["residual"]};
  std::vector<std::vector<double>> maps;
  for (int l = 0; l < shape.num_layers; ++l)
    maps.push_back(captured_mixed_map(input.capture, input.record, l, mixing, input.pool, stop));
  const std::int64_t target = params["target"];
  auto flow_j = attention_flow(
      maps, shape.num_rows, {.target = target < 0 ? shape.num_rows + target : target, .normalise = params["normalise"]},
      input.pool, stop);
  AnalysisReport report;
  Table table{.id = "sources",
              .title = "Tokens with the largest flow",
              .columns = {"target", "token", "text", "share"},
              .rows = {}};
  add_top_tokens(table, info.header, target < 0 ? shape.num_rows + target : target, flow_j);
  report.tables.push_back(std::move(table));
  report.series.push_back(
      key_series("flow", "maximum flow from the target in the last layer to token j", std::move(flow_j)));
  note_coverage(report, shape, input);
  return report;
}

AnalysisReport norm_report(const AnalysisInput& input, const Json&, const std::stop_token&) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  auto result = norm_weighted(input.capture, input.record);
  AnalysisReport report;
  Table table{.id = "tokens",
              .title = "Tokens by attention and by what it carries",
              .columns = {"token", "text", "raw", "weighted"},
              .rows = {}};
  for (const std::int64_t j : largest(result.weighted_j, kTokensShown))
    table.rows.push_back({j, token_text(info.header, j), result.raw_j[j], result.weighted_j[j]});
  report.tables.push_back(std::move(table));
  report.series.push_back(key_series("raw", "mean_lh received_j / sum_j received_j", std::move(result.raw_j)));
  report.series.push_back(key_series("weighted", "mean_lh |u_j| received_j / sum_j |u_j| received_j, u = W_O v",
                                     std::move(result.weighted_j)));
  report.series.push_back(head_series("first_raw", "1", "received_p / sum_j received_j, p = first token", shape,
                                      std::move(result.first_raw_lh)));
  report.series.push_back(head_series("first_weighted", "1", "|u_p| received_p / sum_j |u_j| received_j", shape,
                                      std::move(result.first_weighted_lh)));
  return report;
}

AnalysisReport cache_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  const CacheScoreOptions options{
      .kernel = params["kernel"],
      .pooling = params["pooling"] == "average" ? VotePooling::average : VotePooling::maximum};
  auto scores = cache_scores(input.capture, input.record, options, input.pool, stop);
  AnalysisReport report;
  Table table{.id = "heavy_hitters",
              .title = "Tokens that receive most, mean over layers and heads",
              .columns = {"score", "token", "text", "value"},
              .rows = {}};
  const auto mean_over_layers = [&](const std::vector<double>& value_lj) {
    std::vector<double> mean_j(static_cast<std::size_t>(shape.num_rows), 0.0);
    for (std::size_t at = 0; at < value_lj.size(); ++at) mean_j[at % mean_j.size()] += value_lj[at] / shape.num_layers;
    return mean_j;
  };
  add_top_tokens(table, info.header, "h2o", mean_over_layers(scores.h2o_lj));
  add_top_tokens(table, info.header, "snapkv", mean_over_layers(scores.snapkv_lj));
  report.tables.push_back(std::move(table));
  report.series.push_back(layer_key_series("h2o", "mean_h sum_i A_ij", shape, std::move(scores.h2o_lj)));
  report.series.push_back(
      layer_key_series("h2o_per_row", "mean_h sum_i A_ij / c_j", shape, std::move(scores.per_row_lj)));
  report.series.push_back(
      layer_key_series("snapkv",
                       fmt::format("mean_h pooled votes of the last {} rows of the prompt, kernel {}",
                                   input.capture.header().plan.tail_rows, options.kernel),
                       shape, std::move(scores.snapkv_lj)));
  if (!scores.tova_lj.empty())
    report.series.push_back(layer_key_series("tova", "mean_h A_ij of the last row", shape, std::move(scores.tova_lj)));
  else
    report.notes.emplace_back("no score of the last row (TOVA): it is not kept for replay");
  return report;
}

AnalysisReport agreement_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t last = shape.num_rows - 1, n = shape.num_rows;
  const std::int64_t skip = shape.first_key + params["drop_sink"].get<std::int64_t>();
  const auto mean_of_layers = [&](const std::vector<double>& value_lj) {
    std::vector<double> mean_j(n, 0.0);
    for (std::size_t at = 0; at < value_lj.size(); ++at) mean_j[at % mean_j.size()] += value_lj[at];
    return mean_j;
  };
  std::vector<std::string> names;
  std::vector<std::vector<double>> methods;
  const auto add = [&](std::string name, const std::vector<double>& attr_j) {
    names.push_back(std::move(name));
    methods.emplace_back(attr_j.begin() + std::min(skip, n), attr_j.end());
  };
  add("rollout", rollout(input.capture, input.record, std::span(&last, 1), {}, input.pool, stop));
  add("rollout_without_sink",
      rollout(input.capture, input.record, std::span(&last, 1), {.drop_sink = 4}, input.pool, stop));
  const auto scores = cache_scores(input.capture, input.record, {}, input.pool, stop);
  add("received", mean_of_layers(scores.h2o_lj));
  add("last_row", mean_of_layers(scores.tova_lj));
  add("norm_weighted", norm_weighted(input.capture, input.record).weighted_j);
  const auto agreement = attribution_agreement(methods);
  AnalysisReport report;
  Table table{.id = "agreement",
              .title = "Rank agreement of attributions of the last row",
              .columns = {"a", "b", "spearman", "kendall"},
              .rows = {}};
  for (std::size_t a = 0; a < names.size(); ++a)
    for (std::size_t b = a + 1; b < names.size(); ++b)
      table.rows.push_back({names[a], names[b], agreement.spearman_ab[a * names.size() + b],
                            agreement.kendall_ab[a * names.size() + b]});
  report.tables.push_back(std::move(table));
  report.notes.push_back(fmt::format("tokens {} to {} are ranked", skip, n - 1));
  report.notes.emplace_back("agreement says nothing about faithfulness: that needs runs of the model");
  return report;
}

Parameter residual_parameter() {
  return {"residual", 0.5, 0.0, 1.0, "share of the residual stream in every layer", {}};
}

Parameter drop_parameter(int fallback) {
  return {"drop_sink", fallback, 0, 1 << 20, "first keys taken out (rows are renormalised); 0 = none", {}};
}

}  // namespace

std::vector<Analysis> attribution_analyses() {
  return {
      {.id = "rollout",
       .title = "Attention rollout of chosen rows",
       .summary = "Which tokens a row goes back to when attention is followed through all layers",
       .source = kFlowPaper,
       .needs = {Need::row, Need::qkv},
       .by_default = true,
       .parameters = {{"targets", Json::array(), -1e9, 1e9, "rows to explain, at most 16, -1 = the last (default)", {}},
                      residual_parameter(),
                      drop_parameter(0)},
       .run = rollout_report},
      {.id = "full-rollout",
       .title = "Attention rollout of every row",
       .summary = "The whole rollout matrix, with other ways to fuse heads; at most 4096 rows",
       .source = kFlowPaper,
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters =
           {residual_parameter(),
            {"fusion", "mean", -kInfinity, kInfinity, "how heads become one map", {"mean", "max", "min"}},
            {"discard", 0.0, 0.0, 0.99, "share of the smallest entries of a layer set to 0 (images: 0.9)", {}},
            drop_parameter(0)},
       .run = full_rollout_report},
      {.id = "attention-flow",
       .title = "Attention flow",
       .summary = "Maximum flow from a row of the last layer to every token; at most 256 rows",
       .source = kFlowPaper,
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"target", -1, -1e9, 1e9, "row to explain, -1 = the last", {}},
                      residual_parameter(),
                      {"normalise", true, -kInfinity, kInfinity, "divide by the sum over tokens", {}}},
       .run = flow_report},
      {.id = "norm-weighted",
       .title = "Attention weighted by what it carries",
       .summary = "Attention times the norm of what the head writes: corrects for drained sinks",
       .source = "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms",
       .needs = {Need::column, Need::hidden},
       .by_default = true,
       .parameters = {},
       .run = norm_report},
      {.id = "cache-scores",
       .title = "Scores of cache policies",
       .summary = "What H2O, TOVA and SnapKV would rank keys by",
       .source = "SnapKV: LLM Knows What You are Looking for Before Generation",
       .needs = {Need::row, Need::column},
       .by_default = true,
       .parameters = {{"kernel", 5, 1, 1001, "keys a SnapKV vote is pooled over, odd", {}},
                      {"pooling", "average", -kInfinity, kInfinity, "how votes are pooled", {"average", "maximum"}}},
       .run = cache_report},
      {.id = "attribution-agreement",
       .title = "Agreement of attributions",
       .summary = "Rank correlation of rollout, received attention, last row and norm-weighted attention",
       .source = "definition",
       .needs = {Need::row, Need::column, Need::qkv, Need::hidden},
       .by_default = false,
       .parameters = {drop_parameter(4)},
       .run = agreement_report},
  };
}

}  // namespace headlight::analysis
