// Analyses of hidden states and of the norms of what heads write.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "analysis/sinks/makers.h"
#include "analysis/sinks/massive_activations.h"
#include "analysis/sinks/over_mixing.h"
#include "analysis/sinks/sink_states.h"
#include "analysis/sinks/value_drain.h"
#include "analysis/sinks/visual_sinks.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

constexpr std::string_view kMassive = "Massive Activations in Large Language Models";
constexpr std::string_view kFirstToken = "Why do LLMs attend to the first token?";

std::string_view to_string(SinkKind kind) {
  return kind == SinkKind::secondary ? "secondary" : kind == SinkKind::primary_like ? "primary-like" : "noise";
}

AnalysisReport secondary_sinks_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  SecondarySinkOptions options{.min_cosine = params["min_cosine"],
                               .primary_share = params["primary_share"],
                               .min_lifetime = params["min_lifetime"],
                               .released_constants = params["compat"] == "repo"};
  const SinkStates states = sink_states(input, params["candidates"], options, stop);
  const auto header = input.capture.record(input.record).header;
  Table table{.id = "tokens",
              .title = "Tokens that point the way of the first sink",
              .columns = {"position", "token", "kind", "created", "lifetime", "longest_run"},
              .rows = {}};
  for (const SecondarySink& token : states.sinks.tokens)
    if (token.kind != SinkKind::noise)
      table.rows.push_back({token.position, token_text(header, token.position), to_string(token.kind), token.created,
                            token.lifetime, token.longest_run});
  Table levels{.id = "levels",
               .title = "Levels of secondary sinks",
               .columns = {"level", "created", "lifetime", "count"},
               .rows = {}};
  int number = 0;
  for (const auto& level : sink_levels(states.sinks.tokens)) {
    for (const auto& [created, lifetime, count] : level) levels.rows.push_back({number, created, lifetime, count});
    ++number;
  }
  AnalysisReport report;
  report.series.push_back(number_series("primary", "token", "candidate with the largest mean norm",
                                        static_cast<double>(states.primary), 0, kInfinity));
  report.series.push_back({"window",
                           "1",
                           "states [begin, end) between the rise and the fall of the primary sink's norm",
                           {"bound"},
                           {2},
                           {static_cast<double>(states.sinks.begin), static_cast<double>(states.sinks.end)},
                           0,
                           kInfinity});
  report.series.push_back(
      {"primary_norm", "1", "|y[m,b]|", {"state"}, {std::ssize(states.norm_m)}, states.norm_m, 0, kInfinity});
  report.tables.push_back(std::move(table));
  report.tables.push_back(std::move(levels));
  report.notes.emplace_back("plain short prompts often have none: the paper looks at long reasoning traces");
  if (states.first_only)
    report.notes.emplace_back(
        "cosines to the first token only are in this capture; with --hidden any primary sink can be followed");
  if (options.released_constants && input.capture.header().model.num_layers < 32)
    report.notes.emplace_back("compat=repo: its constants are tied to models of 32 layers and more");
  return report;
}

/// Largest entry of every level from the recorded facts.
Table largest_of_levels(const AnalysisInput& input, const RecordShape& shape) {
  const Buffer<float> absmax = input.capture.hidden(input.record, "absmax");
  Table table{.id = "levels",
              .title = "Largest magnitude of each level",
              .columns = {"level", "largest", "position", "median", "ratio"},
              .rows = {}};
  for (std::int64_t begin = 0; begin + shape.num_rows <= std::ssize(absmax); begin += shape.num_rows) {
    const auto from = absmax.begin() + begin;
    const auto best = std::max_element(from, from + shape.num_rows);
    table.rows.push_back({begin / shape.num_rows, static_cast<double>(*best), best - from, nullptr, nullptr});
  }
  return table;
}

Table massive_channels(const std::vector<capture::MassiveActivation>& entries) {
  struct Channel {
    int count = 0, first_level = 0, last_level = 0;
    double largest = 0.0;
    std::vector<std::int64_t> tokens;
  };
  std::map<int, Channel> channels;
  for (const auto& entry : entries) {
    Channel& channel = channels.try_emplace(entry.dim, Channel{0, entry.level, entry.level, 0.0, {}}).first->second;
    ++channel.count;
    channel.first_level = std::min(channel.first_level, entry.level);
    channel.last_level = std::max(channel.last_level, entry.level);
    if (std::abs(entry.value) > std::abs(channel.largest)) channel.largest = entry.value;
    if (std::find(channel.tokens.begin(), channel.tokens.end(), entry.token) == channel.tokens.end())
      channel.tokens.push_back(entry.token);
  }
  Table table{.id = "channels",
              .title = "Channels with massive activations",
              .columns = {"channel", "entries", "tokens", "first_level", "last_level", "largest"},
              .rows = {}};
  for (const auto& [dim, channel] : channels)
    table.rows.push_back(
        {dim, channel.count, channel.tokens.size(), channel.first_level, channel.last_level, channel.largest});
  return table;
}

AnalysisReport massive_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& model = input.capture.header().model;
  const MassiveOptions options{.min_value = params["min_value"], .min_ratio = params["min_ratio"]};
  const double emerging = params["emerging_ratio"];
  AnalysisReport report;
  Table levels = largest_of_levels(input, shape);
  auto entries = input.capture.massive(input.record);
  int emerging_levels = 0;
  if (input.capture.record(input.record).has_hidden_states) {
    entries.clear();
    Buffer<float> x_td(static_cast<std::size_t>(shape.num_rows * model.hidden_size));
    for (int level = 0; level <= model.num_layers; ++level) {
      check_stop(stop);
      input.capture.read_states(input.record, level, 0, shape.num_rows, x_td.data());
      const auto valid =
          std::span<const float>(x_td).subspan(static_cast<std::size_t>(shape.first_key * model.hidden_size));
      const LevelMagnitudes magnitudes = level_magnitudes(valid, model.hidden_size, options);
      auto& row = levels.rows[static_cast<std::size_t>(level)];
      row[3] = magnitudes.median;
      row[4] = magnitudes.ratio();
      emerging_levels += magnitudes.ratio() >= emerging ? 1 : 0;
      for (const Magnitude& entry : magnitudes.massive)
        entries.push_back({level, entry.dim, entry.token + shape.first_key, static_cast<float>(entry.value)});
    }
    report.series.push_back(number_series("emerging_levels", "1", "levels with max|x| / median|x| >= emerging_ratio",
                                          emerging_levels, 0, kInfinity));
  } else {
    std::erase_if(entries, [&](const auto& entry) { return std::abs(entry.value) <= options.min_value; });
    report.notes.emplace_back(
        "medians need the hidden states (--hidden); entries are those recorded above 100 and 1000 medians");
  }
  report.series.push_back(number_series("massive", "1", "entries with |x| > min_value and |x| > min_ratio median|x|",
                                        static_cast<double>(entries.size()), 0, kInfinity));
  report.tables.push_back(massive_channels(entries));
  report.tables.push_back(std::move(levels));
  report.notes.emplace_back("the threshold of 100 comes from models of 7B and more; small models need the ratio");
  return report;
}

AnalysisReport value_drain_report(const AnalysisInput& input, const Json& params, const std::stop_token&) {
  const RecordShape shape = record_shape(input);
  const double threshold = params["drained"];
  auto ratio = drain_ratio(input.capture.hidden(input.record, "u_norm"), shape.num_rows, shape.first_key);
  const auto peak = residual_peak(input.capture.hidden(input.record, "norm_l2"), shape.num_rows, shape.first_key);
  std::int64_t drained = 0;
  for (const double value : ratio) drained += value < threshold ? 1 : 0;
  AnalysisReport report;
  report.series.push_back(number_series("drained_heads", "1", "heads with drain < threshold",
                                        static_cast<double>(drained), 0, static_cast<double>(shape.num_cells())));
  report.series.push_back(
      head_series("drain", "1", "|W_O v_p| / median_{j>p} |W_O v_j|", shape, std::move(ratio), 0, kInfinity));
  report.series.push_back({"residual_peak",
                           "1",
                           "|x[level,p]| / max_{j>p} |x[level,j]|",
                           {"level"},
                           {std::ssize(peak)},
                           peak,
                           0,
                           kInfinity});
  return report;
}

AnalysisReport sink_audit_report(const AnalysisInput& input, const Json&, const std::stop_token&) {
  const RecordShape shape = record_shape(input);
  const Buffer<float> first_lh = input.capture.head_statistic(input.record, "first");
  std::vector<double> share_l;
  for (int l = 0; l < shape.num_layers; ++l) {
    std::vector<double> heads(first_lh.begin() + l * shape.num_heads, first_lh.begin() + (l + 1) * shape.num_heads);
    share_l.push_back(mean_defined(heads));
  }
  const Buffer<float> absmax = input.capture.hidden(input.record, "absmax");
  std::vector<double> largest_l;
  for (std::int64_t begin = 0; begin + shape.num_rows <= std::ssize(absmax); begin += shape.num_rows)
    largest_l.push_back(*std::max_element(absmax.begin() + begin, absmax.begin() + begin + shape.num_rows));
  AnalysisReport report;
  report.series.push_back(
      number_series("first_share", "1", "mean over layers, heads and rows i > p of A_ip", mean_defined(share_l)));
  report.series.push_back(number_series("max_activation", "1", "max over levels of max |x|",
                                        *std::max_element(largest_l.begin(), largest_l.end()), 0, kInfinity));
  report.series.push_back(
      number_series("mean_activation", "1", "mean over levels of max |x|", mean_defined(largest_l), 0, kInfinity));
  report.series.push_back({"first_share_by_layer",
                           "1",
                           "mean over heads and rows i > p of A_ip",
                           {"layer"},
                           {shape.num_layers},
                           std::move(share_l),
                           0,
                           1});
  report.series.push_back({"activation_by_level",
                           "1",
                           "max_t,c |x_tc|",
                           {"level"},
                           {std::ssize(largest_l)},
                           std::move(largest_l),
                           0,
                           kInfinity});
  report.notes.emplace_back(
      "sinks and large activations are separable, so both are shown; the published single number of the latter does "
      "not say whether it is the maximum or the mean");
  return report;
}

AnalysisReport rank_collapse_report(const AnalysisInput& input, const Json&, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& model = input.capture.header().model;
  std::vector<double> mu, relative;
  Buffer<float> x_td(static_cast<std::size_t>((shape.num_rows - shape.first_key) * model.hidden_size));
  for (int level = 0; level <= model.num_layers; ++level) {
    check_stop(stop);
    input.capture.read_states(input.record, level, shape.first_key, shape.num_rows, x_td.data());
    const RankCollapse collapse = rank_collapse(x_td, model.hidden_size);
    mu.push_back(collapse.mu);
    relative.push_back(collapse.relative);
  }
  AnalysisReport report;
  report.series.push_back({"mu",
                           "1",
                           "|X - 1 xbar^T|_F, xbar = mean over tokens",
                           {"level"},
                           {std::ssize(mu)},
                           std::move(mu),
                           0,
                           kInfinity});
  report.series.push_back(
      {"relative", "1", "mu / |X|_F", {"level"}, {std::ssize(relative)}, std::move(relative), 0, 1});
  return report;
}

AnalysisReport perturbation_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& model = input.capture.header().model;
  const std::int64_t base = params["base"];
  if (base >= input.capture.num_records() || base == input.record)
    throw Error(Errc::invalid_argument, fmt::format("expected another record than {} to compare with, found {} of {}",
                                                    input.record, base, input.capture.num_records()));
  if (input.capture.record(base).num_rows != shape.num_rows)
    throw Error(Errc::invalid_argument, "the two records must have the same number of tokens");
  std::vector<double> mean_l, last_l;
  Buffer<float> x_td(static_cast<std::size_t>(shape.num_rows * model.hidden_size)), y_td(x_td.size());
  for (int level = 0; level <= model.num_layers; ++level) {
    check_stop(stop);
    input.capture.read_states(base, level, 0, shape.num_rows, x_td.data());
    input.capture.read_states(input.record, level, 0, shape.num_rows, y_td.data());
    const std::vector<double> distance_t = state_distance(x_td, y_td, model.hidden_size);
    mean_l.push_back(mean_defined(distance_t));
    last_l.push_back(distance_t.back());
  }
  AnalysisReport report;
  report.series.push_back({"mean_distance",
                           "1",
                           "mean_t |x'[level,t] - x[level,t]|",
                           {"level"},
                           {std::ssize(mean_l)},
                           std::move(mean_l),
                           0,
                           kInfinity});
  report.series.push_back({"last_distance",
                           "1",
                           "|x'[level,N-1] - x[level,N-1]|",
                           {"level"},
                           {std::ssize(last_l)},
                           std::move(last_l),
                           0,
                           kInfinity});
  return report;
}

AnalysisReport visual_sinks_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const SinkChannels found = sink_channels(input, params, stop);
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  AnalysisReport report;
  Table channels{.id = "channels", .title = "Channels in which sinks live", .columns = {"channel"}, .rows = {}};
  for (const int channel : found.channels) channels.rows.push_back({channel});
  Table tokens{.id = "tokens",
               .title = "Tokens above tau in some layer",
               .columns = {"position", "token", "segment", "largest_phi", "layers"},
               .rows = {}};
  for (std::int64_t t = 0; t < shape.num_rows; ++t) {
    const auto& [largest, layers] = found.token_t[static_cast<std::size_t>(t)];
    if (layers == 0) continue;
    const int segment = info.header.tokens[static_cast<std::size_t>(t)].segment;
    const bool named = segment >= 0 && segment < std::ssize(info.header.segments);
    tokens.rows.push_back({t, token_text(info.header, t),
                           named ? Json(info.header.segments[static_cast<std::size_t>(segment)].name) : Json(nullptr),
                           largest, layers});
  }
  report.series.push_back(
      number_series("tau", "1", "threshold on phi; 0.3125 sqrt(d) unless given", found.tau, 0, kInfinity));
  report.series.push_back({"phi_max",
                           "1",
                           "max_{c in D} |x_c| / RMS(x), largest over layers >= 2",
                           {"key"},
                           {shape.num_rows},
                           found.largest(),
                           0,
                           std::sqrt(static_cast<double>(input.capture.header().model.hidden_size))});
  report.tables.push_back(std::move(channels));
  report.tables.push_back(std::move(tokens));
  if (found.channels.empty())
    report.notes.emplace_back("no channel qualifies: sinks of this model cannot be told by their channels");
  return report;
}

}  // namespace

Analysis secondary_sinks_analysis() {
  return {
      .id = "secondary-sinks",
      .title = "Secondary sinks",
      .summary = "Tokens whose hidden state points the way of the first sink's for some layers",
      .source = "On the Existence and Behaviour of Secondary Attention Sinks",
      .needs = {Need::hidden},
      .parameters = {{"candidates", 2, 1, 16, "first tokens among which the primary sink is looked for; 3 for chats"},
                     {"min_cosine", 0.9, 0.0, 1.0, "a state is marked above this |cosine|"},
                     {"primary_share", 0.6, 0.0, 1.0, "marked in this share of the window: like the primary sink"},
                     {"min_lifetime", 5, 1, 1 << 20, "fewer marked states are noise"},
                     {"compat",
                      "product",
                      -kInfinity,
                      kInfinity,
                      "repo: constants of the released program (L - 15, 4)",
                      {"product", "repo"}}},
      .run = secondary_sinks_report};
}

Analysis massive_activations_analysis() {
  return {.id = "massive-activations",
          .title = "Massive activations",
          .summary = "Few entries of the hidden states that are larger than all others by orders of magnitude",
          .source = kMassive,
          .needs = {Need::hidden},
          .parameters = {{"min_value", 100.0, 0.0, kInfinity, "an entry is massive above this ..."},
                         {"min_ratio", 1000.0, 0.0, kInfinity, "... and above this many medians of its level"},
                         {"emerging_ratio", 50.0, 0.0, kInfinity, "largest over median, for small models"}},
          .run = massive_report};
}

Analysis value_drain_analysis() {
  return {.id = "value-drain",
          .title = "Value drain and residual peak of the first token",
          .summary = "How little heads write when they look at the first token, and how large its state is",
          .source = kActiveDormant,
          .needs = {Need::hidden},
          .parameters = {{"drained", 0.2, 0.0, kInfinity, "a head is drained below this ratio"}},
          .run = value_drain_report};
}

Analysis sink_audit_analysis() {
  return {.id = "sink-audit",
          .title = "Share of the first token and largest activation",
          .summary = "The two numbers by which sink-free attention is judged",
          .source = "Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free",
          .needs = {Need::row, Need::hidden},
          .run = sink_audit_report};
}

Analysis rank_collapse_analysis() {
  return {.id = "rank-collapse",
          .title = "Collapse of the representation",
          .summary = "How far hidden states of different tokens are from being the same",
          .source = kFirstToken,
          .needs = {Need::states},
          .run = rank_collapse_report};
}

Analysis perturbation_spread_analysis() {
  return {.id = "perturbation-spread",
          .title = "Spread of a changed token",
          .summary = "Distance of the hidden states of two records that differ in a token",
          .source = kFirstToken,
          .needs = {Need::states},
          .by_default = false,
          .parameters = {{"base", 0, 0, 1 << 24, "record to compare with"}},
          .run = perturbation_report};
}

Analysis visual_sinks_analysis() {
  return {.id = "visual-sinks",
          .title = "Sinks by their channels",
          .summary = "Tokens with large values in the channels where sinks live, e.g. among image tokens",
          .source = "See What You Are Told: Visual Attention Sink in Large Multimodal Models",
          .needs = {Need::states},
          .parameters = {{"channels", Json::array(), 0, 1 << 20,
                          "sink channels of the model; empty = found in this record"},
                         {"tau", 0.0, 0.0, kInfinity, "threshold on phi; 0 = 0.3125 sqrt(d), which is 20 at d = 4096"}},
          .run = visual_sinks_report};
}

}  // namespace headlight::analysis
