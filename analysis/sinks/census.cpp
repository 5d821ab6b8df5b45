#include "analysis/sinks/census.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "analysis/sinks/epsilon_sink.h"
#include "analysis/sinks/hidden_sinks.h"
#include "analysis/sinks/makers.h"
#include "analysis/sinks/moving_sinks.h"
#include "analysis/sinks/sink_states.h"

namespace headlight::analysis {
namespace {

/// Flags by attention: a key is flagged when it is a sink of at least one head.
struct AttentionFlags {
  SinkFlag epsilon, hidden, moving;
  std::vector<double> largest_alpha_j;
};

SinkFlag empty_flag(std::string name, std::size_t width) {
  return {std::move(name), std::vector<std::uint8_t>(width, 0), std::vector<int>(width, -1),
          std::vector<int>(width, -1)};
}

void mark(SinkFlag& flag, std::size_t j, int layer) {
  flag.token_j[j] = 1;
  if (flag.first_layer_j[j] < 0) flag.first_layer_j[j] = layer;
  flag.last_layer_j[j] = layer;
}

AttentionFlags attention_flags(const AnalysisInput& input, const RecordShape& shape, const Json& params,
                               const std::stop_token& stop) {
  const auto width = static_cast<std::size_t>(shape.num_rows);
  AttentionFlags flags{empty_flag("epsilon-sink", width), empty_flag("hidden-sinks", width),
                       empty_flag("moving-sinks", width), std::vector<double>(width, 0.0)};
  const HiddenSinkOptions options{.threshold = params["threshold"], .min_rows = params["min_rows"]};
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const int layer = shape.layers[static_cast<std::size_t>(l)];
    const Buffer<float> received_hj = input.capture.statistic(input.record, "received", l);
    const auto alpha_hj =
        column_means(received_hj, {}, geometry, {.exclude_self = false, .min_rows = options.min_rows});
    const auto hidden_hj = hidden_sinks(alpha_hj, geometry, options);
    for (std::size_t at = 0; at < alpha_hj.size(); ++at) {
      if (alpha_hj[at] > flags.largest_alpha_j[at % width]) flags.largest_alpha_j[at % width] = alpha_hj[at];
      if (alpha_hj[at] > params["epsilon"].get<double>() + 1e-6) mark(flags.epsilon, at % width, layer);
      if (hidden_hj[at] != 0) mark(flags.hidden, at % width, layer);
    }
    if (geometry.mask.causal) continue;
    for (int h = 0; h < shape.num_heads; ++h) {
      const std::vector<double> colsum(received_hj.begin() + h * shape.num_rows,
                                       received_hj.begin() + (h + 1) * shape.num_rows);
      const auto sinks = bidirectional_sinks(colsum);
      for (std::size_t j = 0; j < width; ++j)
        if (sinks[j] != 0) mark(flags.moving, j, layer);
    }
  }
  return flags;
}

std::vector<SinkFlag> all_flags(const AnalysisInput& input, const RecordShape& shape, AttentionFlags attention,
                                const std::stop_token& stop) {
  const auto width = static_cast<std::size_t>(shape.num_rows);
  SinkFlag secondary = empty_flag("secondary-sinks", width), massive = empty_flag("massive-activations", width);
  const SinkStates states = sink_states(input, 2, {}, stop);
  for (const SecondarySink& token : states.sinks.tokens) {
    if (token.kind == SinkKind::noise) continue;
    mark(secondary, static_cast<std::size_t>(token.position), token.created);
    secondary.last_layer_j[static_cast<std::size_t>(token.position)] = token.created + token.lifetime - 1;
  }
  for (const auto& entry : input.capture.massive(input.record)) {
    const auto j = static_cast<std::size_t>(entry.token);
    mark(massive, j, entry.level);
    massive.first_layer_j[j] = std::min(massive.first_layer_j[j], entry.level);
    massive.last_layer_j[j] = std::max(massive.last_layer_j[j], entry.level);
  }
  std::vector<SinkFlag> flags = {std::move(attention.epsilon), std::move(attention.hidden), std::move(secondary),
                                 std::move(massive)};
  if (!shape.geometry_l.empty() && !shape.geometry_l.front().mask.causal) flags.push_back(std::move(attention.moving));
  if (input.capture.record(input.record).has_hidden_states) {
    SinkFlag channels = empty_flag("visual-sinks", width);
    const SinkChannels found = sink_channels(input, {{"tau", 0.0}, {"channels", Json::array()}}, stop);
    for (std::size_t j = 0; j < width; ++j) channels.token_j[j] = found.token_t[j].second > 0 ? 1 : 0;
    channels.first_layer_j = found.first_layer_t;
    channels.last_layer_j = found.last_layer_t;
    flags.push_back(std::move(channels));
  }
  return flags;
}

/// Mean over heads of |W_O v_j| / median of the head, and mean over levels of |x_j| / median of the level.
std::vector<double> mean_ratio(const Buffer<float>& values, std::size_t width) {
  std::vector<double> ratio(width, 0.0);
  const std::size_t rows = values.size() / width;
  for (std::size_t begin = 0; begin < values.size(); begin += width) {
    std::vector<float> sorted(values.begin() + begin, values.begin() + begin + width);
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>((width - 1) / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    for (std::size_t j = 0; j<width&& * middle> 0; ++j)
      ratio[j] += static_cast<double>(values[begin + j]) / static_cast<double>(*middle) / static_cast<double>(rows);
  }
  return ratio;
}

AnalysisReport census_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto width = static_cast<std::size_t>(shape.num_rows);
  AttentionFlags attention = attention_flags(input, shape, params, stop);
  const std::vector<double> alpha = attention.largest_alpha_j;
  const std::vector<SinkFlag> flags = all_flags(input, shape, std::move(attention), stop);
  const auto value_ratio = mean_ratio(input.capture.hidden(input.record, "u_norm"), width);
  const auto norm_ratio = mean_ratio(input.capture.hidden(input.record, "norm_l2"), width);
  const auto header = input.capture.record(input.record).header;
  Table table{
      .id = "tokens",
      .title = "Tokens that some detector calls a sink",
      .columns = {"position", "token", "flags", "first_layer", "last_layer", "max_alpha", "value_ratio", "norm_ratio"},
      .rows = {}};
  for (std::size_t j = 0; j < width; ++j) {
    std::string names;
    int first = 1 << 30, last = -1;
    for (const SinkFlag& flag : flags) {
      if (flag.token_j[j] == 0) continue;
      names += (names.empty() ? "" : " ") + flag.name;
      first = std::min(first, flag.first_layer_j[j]);
      last = std::max(last, flag.last_layer_j[j]);
    }
    if (names.empty()) continue;
    const auto position = static_cast<std::int64_t>(j);
    table.rows.push_back(
        {position, token_text(header, position), names, first, last, alpha[j], value_ratio[j], norm_ratio[j]});
  }
  Table agreement{
      .id = "agreement", .title = "Agreement of the detectors (Jaccard)", .columns = {"detector"}, .rows = {}};
  const std::vector<double> overlap = jaccard(flags);
  for (std::size_t a = 0; a < flags.size(); ++a) {
    agreement.columns.push_back(flags[a].name);
    agreement.rows.push_back({flags[a].name});
    for (std::size_t b = 0; b < flags.size(); ++b) {
      const double value = overlap[a * flags.size() + b];
      agreement.rows.back().push_back(std::isnan(value) ? Json(nullptr) : Json(value));
    }
  }
  AnalysisReport report;
  report.series.push_back(
      number_series("flagged", "1", "tokens with a flag", static_cast<double>(table.rows.size()), 0, kInfinity));
  report.tables.push_back(std::move(table));
  report.tables.push_back(std::move(agreement));
  report.notes.emplace_back(
      "value_ratio: mean over heads of |W_O v_j| over the head's median; norm_ratio: mean over levels of |x_j| over "
      "the level's median");
  return report;
}

}  // namespace

std::vector<double> jaccard(std::span<const SinkFlag> flags) {
  std::vector<double> overlap;
  for (const SinkFlag& a : flags)
    for (const SinkFlag& b : flags) {
      int both = 0, any = 0;
      for (std::size_t j = 0; j < a.token_j.size(); ++j) {
        both += a.token_j[j] != 0 && b.token_j[j] != 0 ? 1 : 0;
        any += a.token_j[j] != 0 || b.token_j[j] != 0 ? 1 : 0;
      }
      overlap.push_back(any > 0 ? static_cast<double>(both) / any : kUndefined);
    }
  return overlap;
}

Analysis sink_census_analysis() {
  return {.id = "sink-census",
          .title = "Census of sinks",
          .summary = "Every token that some detector calls a sink, and how far the detectors agree",
          .source = "definition",
          .needs = {Need::row, Need::column, Need::hidden},
          .parameters = {{"epsilon", 0.3, 0.0, 1.0, "of epsilon-sink"},
                         {"threshold", 0.1, 0.0, 1.0, "of hidden-sinks"},
                         {"min_rows", 8, 1, 1 << 30, "keys seen by fewer rows are left out of both"}},
          .run = census_report};
}

}  // namespace headlight::analysis
