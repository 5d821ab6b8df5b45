// Analyses of heads: from the mass on the first token, and from rows and maps that are replayed.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "analysis/row_replay.h"
#include "analysis/sinks/dormant_heads.h"
#include "analysis/sinks/makers.h"
#include "analysis/sinks/over_mixing.h"
#include "analysis/sinks/value_drain.h"
#include "base/error.h"
#include "core/capture/replay.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kTileRows = 256;

/// visit(row, keys, attn_j) for every row of a head in ascending order, on this thread; the tiles are replayed in
/// parallel.
template <class Visit>
void for_each_row(const AnalysisInput& input, const RecordShape& shape, capture::HeadRef head,
                  const std::stop_token& stop, Visit visit) {
  const auto& geometry = shape.geometry_l[static_cast<std::size_t>(head.layer)];
  const std::int64_t width = shape.num_rows;
  Buffer<float> tile(static_cast<std::size_t>(std::min(kTileRows, width) * width));
  for (std::int64_t begin = 0; begin < width; begin += kTileRows) {
    const std::int64_t end = std::min(begin + kTileRows, width), cols = geometry.mask.causal ? end : width;
    const std::span<float> out(tile.data(), static_cast<std::size_t>((end - begin) * cols));
    capture::replay_tile(input.capture, head, {begin, end, 0, cols}, input.pool, out, stop);
    for (std::int64_t row = begin; row < end; ++row) {
      const kernels::KeyRange keys = geometry.mask.visible(row, width);
      if (keys.size() > 0)
        visit(row, keys,
              std::span<const float>(out).subspan(static_cast<std::size_t>((row - begin) * cols + keys.begin),
                                                  static_cast<std::size_t>(keys.size())));
    }
  }
}

void require_all_rows(const AnalysisInput& input, std::int64_t limit) {
  const capture::RecordInfo info = input.capture.record(input.record);
  if (info.replay_row_begin > 0 || info.replay_row_end < info.num_rows)
    throw Error(Errc::invalid_argument, "needs the queries of all rows; this capture keeps some");
  if (info.num_rows > limit)
    throw Error(Errc::invalid_argument,
                fmt::format("the text has {} tokens, the limit max_tokens is {}", info.num_rows, limit));
}

AnalysisReport sink_logit_report(const AnalysisInput& input, const Json&, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const capture::RecordInfo info = input.capture.record(input.record);
  std::vector<SinkLogit> logits(shape.num_cells(),
                                {kUndefined, kUndefined, kUndefined, kUndefined, kUndefined, kUndefined});
  bool capped = false;
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto& parameters = info.header.layers[static_cast<std::size_t>(l)];
    if (parameters.soft_cap > 0.0f) {  // scores are not linear in the key
      capped = true;
      continue;
    }
    RowReplay replay(input.capture, input.record, l);
    for (int h = 0; h < shape.num_heads; ++h) {
      check_stop(stop);
      if (!replay.recorded(h) || replay.rows().size() == 0) continue;
      replay.open(h);
      const auto rows = static_cast<std::size_t>(replay.rows().size()), keys = static_cast<std::size_t>(shape.num_rows),
                 dim = static_cast<std::size_t>(shape.head_dim);
      logits[static_cast<std::size_t>(l * shape.num_heads + h)] =
          sink_logit({replay.query(replay.rows().begin).data(), rows * dim}, replay.rows().begin,
                     {replay.key(0).data(), keys * dim}, shape.head_dim, shape.geometry_l[static_cast<std::size_t>(l)],
                     parameters.scale);
    }
  }
  AnalysisReport report;
  const auto add = [&](const char* id, const char* unit, const char* formula, double SinkLogit::*member, double low,
                       double high) {
    std::vector<double> values;
    for (const SinkLogit& one : logits) values.push_back(one.*member);
    report.series.push_back(head_series(id, unit, formula, shape, std::move(values), low, high));
  };
  add("gap", "nat", "mean_i [ s_ip - mean_{p<j<i} s_ij ]", &SinkLogit::gap, -kInfinity, kInfinity);
  add("cos_first", "1", "mean_i cos(q_i, k_p)", &SinkLogit::cos_first, -1, 1);
  add("cos_other", "1", "mean_i mean_{p<j<i} cos(q_i, k_j)", &SinkLogit::cos_other, -1, 1);
  add("query_norm", "1", "mean_i |q_i|", &SinkLogit::query_norm, 0, kInfinity);
  add("first_key_norm", "1", "|k_p|", &SinkLogit::first_key_norm, 0, kInfinity);
  add("other_key_norm", "1", "mean_i mean_{p<j<i} |k_j|", &SinkLogit::other_key_norm, 0, kInfinity);
  if (capped) report.notes.emplace_back("layers with a soft cap are undefined here");
  return report;
}

AnalysisReport dormant_heads_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const DormancyOptions options{.dormant = params["dormant"], .active = params["active"], .contrast = 0.3};
  const Buffer<float> first = input.capture.head_statistic(input.record, "first");
  std::vector<double> mean_lh(first.begin(), first.end()), rows_lh;
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    const auto share = dormant_rows(input.capture.statistic(input.record, "first", l),
                                    shape.geometry_l[static_cast<std::size_t>(l)], params["row_threshold"]);
    rows_lh.insert(rows_lh.end(), share.begin(), share.end());
  }
  std::map<Dormancy, int> count;
  for (const double mean : mean_lh) ++count[dormancy_of(mean, options)];
  Table table{
      .id = "kinds", .title = "Heads by mean mass on the first token", .columns = {"kind", "heads"}, .rows = {}};
  for (const auto& [kind, heads] : count) table.rows.push_back({to_string(kind), heads});
  AnalysisReport report;
  report.series.push_back(head_series("first", "1", "mean over rows i > p of A_ip", shape, std::move(mean_lh)));
  report.series.push_back(
      head_series("dormant_rows", "1", "share of rows i > p with A_ip > row_threshold", shape, std::move(rows_lh)));
  report.tables.push_back(std::move(table));
  report.notes.emplace_back(
      "a head that rests here may work on other text: see active-dormant over a corpus with labels");
  return report;
}

/// Domains of a corpus: labels where records have them, else every record by itself.
AnalysisReport active_dormant_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const DormancyOptions options{
      .dormant = params["dormant"], .active = params["active"], .contrast = params["contrast"]};
  if (input.capture.num_records() < 2)
    throw Error(Errc::invalid_argument, "compares domains: needs a corpus of at least two records");
  std::map<std::int64_t, std::pair<std::vector<double>, std::vector<double>>> domains;  // label -> sums, counts
  bool labelled = true;
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) labelled &= input.capture.record(r).header.label >= 0;
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) {
    check_stop(stop);
    const Buffer<float> first = input.capture.head_statistic(r, "first");
    auto& [sum, count] = domains[labelled ? input.capture.record(r).header.label : r];
    sum.resize(first.size(), 0.0);
    count.resize(first.size(), 0.0);
    for (std::size_t at = 0; at < first.size(); ++at)
      if (!std::isnan(first[at])) {
        sum[at] += first[at];
        count[at] += 1.0;
      }
  }
  std::vector<double> mean_dh;
  for (const auto& [label, domain] : domains)
    for (std::size_t at = 0; at < domain.first.size(); ++at)
      mean_dh.push_back(domain.second[at] > 0 ? domain.first[at] / domain.second[at] : kUndefined);
  std::vector<double> contrast = dormancy_contrast(mean_dh, shape.num_cells());
  Table table{.id = "heads",
              .title = "Heads that rest in one domain and work in another",
              .columns = {"head", "contrast", "most_dormant", "most_active", "kind_there", "kind_here"},
              .rows = {}};
  for (std::size_t at = 0; at < contrast.size(); ++at) {
    if (!(contrast[at] >= options.contrast)) continue;
    std::vector<std::pair<double, std::int64_t>> by_mean;
    std::size_t row = 0;
    for (const auto& [label, domain] : domains) {
      const double mean = mean_dh[row++ * shape.num_cells() + at];
      if (!std::isnan(mean)) by_mean.emplace_back(mean, label);
    }
    const auto [low, high] = std::minmax_element(by_mean.begin(), by_mean.end());
    table.rows.push_back({cell_name(shape, at), contrast[at], high->second, low->second,
                          to_string(dormancy_of(high->first, options)), to_string(dormancy_of(low->first, options))});
  }
  AnalysisReport report;
  report.series.push_back(
      head_series("contrast", "1", "max - min over domains of mean A_ip, i > p", shape, std::move(contrast)));
  report.series.push_back({"first",
                           "1",
                           "mean over rows i > p and records of the domain of A_ip",
                           {"domain", "layer", "head"},
                           {std::ssize(domains), shape.num_layers, shape.num_heads},
                           std::move(mean_dh),
                           0,
                           1});
  report.tables.push_back(std::move(table));
  report.notes.emplace_back(labelled ? "domains are the labels of the records"
                                     : "records have no labels: each record is a domain");
  return report;
}

AnalysisReport column_entropy_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  require_all_rows(input, params["max_tokens"]);
  const RecordShape shape = record_shape(input);
  const SinkLikeOptions options{.row_threshold = params["row_threshold"],
                                .column_threshold = params["column_threshold"]};
  std::vector<double> largest_lh(shape.num_cells(), kUndefined), row_lh(shape.num_cells(), kUndefined),
      sink_like(shape.num_cells(), kUndefined);
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto& geometry = shape.geometry_l[static_cast<std::size_t>(l)];
    const Buffer<float> entropy_hi = input.capture.statistic(input.record, "entropy_normalized", l);
    for (int h = 0; h < shape.num_heads; ++h) {
      if (!input.capture.head_recorded(input.record, l, h)) continue;
      ColumnEntropy columns(geometry);
      for_each_row(
          input, shape, {input.record, l, h}, stop,
          [&](std::int64_t, kernels::KeyRange keys, std::span<const float> attn_j) { columns.add_row(keys, attn_j); });
      const std::vector<double> entropy_j = columns.normalized();
      const auto cell = static_cast<std::size_t>(l * shape.num_heads + h);
      largest_lh[cell] = *std::max_element(entropy_j.begin(), entropy_j.end());
      double sum = 0.0;
      for (std::int64_t i = shape.first_key; i < shape.num_rows; ++i) {
        const float entropy = entropy_hi[static_cast<std::size_t>(h * shape.num_rows + i)];
        sum += std::isnan(entropy) ? 0.0 : static_cast<double>(entropy);
      }
      row_lh[cell] = sum / static_cast<double>(shape.num_rows - shape.first_key);
      sink_like[cell] = is_sink_like(row_lh[cell], largest_lh[cell], options) ? 1.0 : 0.0;
    }
  }
  AnalysisReport report;
  report.series.push_back(head_series("sink_like", "1",
                                      "1 where row entropy < row_threshold and column entropy > column_threshold",
                                      shape, std::move(sink_like)));
  report.series.push_back(
      head_series("column_entropy", "1", "max_j of the entropy of column j / ln c_j", shape, std::move(largest_lh)));
  report.series.push_back(head_series("row_entropy", "1", "mean over all rows of entropy / ln n_i, 0 for one key",
                                      shape, std::move(row_lh)));
  report.notes.emplace_back("the thresholds are free parameters of the method");
  return report;
}

AnalysisReport over_mixing_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  require_all_rows(input, params["max_tokens"]);
  const RecordShape shape = record_shape(input);
  if (shape.num_layers != input.capture.header().model.num_layers)
    throw Error(Errc::invalid_argument, "needs all layers of the model; this capture records some");
  MixingSpread spread(shape.num_rows, shape.first_key);
  for (int l = shape.num_layers - 1; l >= 0; --l) {
    if (!shape.geometry_l[static_cast<std::size_t>(l)].mask.causal)
      throw Error(Errc::invalid_argument, "is defined for causal attention");
    for (int h = 0; h < shape.num_heads; ++h) {
      if (!input.capture.head_recorded(input.record, l, h))
        throw Error(Errc::invalid_argument, "needs all heads; this capture keeps some");
      for_each_row(input, shape, {input.record, l, h}, stop,
                   [&](std::int64_t row, kernels::KeyRange keys, std::span<const float> attn_j) {
                     spread.add_row(row, keys, attn_j);
                   });
    }
    spread.end_layer(shape.num_heads);
  }
  std::vector<double> with = spread.with_sink(), without = spread.without_sink();
  AnalysisReport report;
  double sum_with = 0.0, sum_without = 0.0;
  for (std::size_t j = static_cast<std::size_t>(shape.first_key) + 1; j < with.size(); ++j) {
    sum_with += with[j];
    sum_without += without[j];
  }
  report.series.push_back(number_series("shielding", "1", "sum_i spread without the sink / sum_i spread with it, i > p",
                                        sum_with > 0 ? sum_without / sum_with : kUndefined, 0, kInfinity));
  report.series.push_back({"spread",
                           "1",
                           "sum_{j>i} R_ji, R = product of (mean_h A + I) / 2",
                           {"key"},
                           {shape.num_rows},
                           std::move(with),
                           0,
                           kInfinity});
  report.series.push_back({"spread_without_sink",
                           "1",
                           "the same with rows renormalised over keys after the first",
                           {"key"},
                           {shape.num_rows},
                           std::move(without),
                           0,
                           kInfinity});
  report.notes.emplace_back(
      "a proxy of the bound on how much one token can move another; learned sinks and feed-forward layers are not in "
      "it");
  return report;
}

}  // namespace

Analysis sink_logit_analysis() {
  return {.id = "sink-logit",
          .title = "Scores of the first token against the others",
          .summary = "Why heads look at the first token: lengths of q and k, and the angle between them",
          .source = kActiveDormant,
          .needs = {Need::qkv},
          .run = sink_logit_report};
}

Analysis dormant_heads_analysis() {
  return {.id = "dormant-heads",
          .title = "Dormant heads",
          .summary = "Heads that mostly look at the first token in this text",
          .source = kActiveDormant,
          .needs = {Need::row},
          .parameters = {{"row_threshold", 0.5, 0.0, 1.0, "a row rests when the first token has more than this"},
                         {"dormant", 0.8, 0.0, 1.0, "mean mass from which a head is dormant"},
                         {"active", 0.4, 0.0, 1.0, "mean mass up to which a head is active"}},
          .run = dormant_heads_report};
}

Analysis active_dormant_analysis() {
  return {.id = "active-dormant",
          .title = "Heads that rest in one domain and work in another",
          .summary = "Contrast of the mass on the first token between the labels (or records) of a corpus",
          .source = kActiveDormant,
          .needs = {Need::row},
          .by_default = false,
          .parameters = {{"dormant", 0.8, 0.0, 1.0, "mean mass from which a head is dormant"},
                         {"active", 0.4, 0.0, 1.0, "mean mass up to which a head is active"},
                         {"contrast", 0.3, 0.0, 1.0, "difference from which a head is listed"}},
          .run = active_dormant_report};
}

Analysis column_entropy_analysis() {
  return {.id = "column-entropy",
          .title = "Heads that look at one place whatever the query",
          .summary = "Low entropy of rows and high entropy of a column",
          .source = kActiveDormant,
          .needs = {Need::row, Need::qkv},
          .by_default = false,
          .parameters = {{"row_threshold", 0.35, 0.0, 1.0, "normalised entropy of rows below this"},
                         {"column_threshold", 0.95, 0.0, 1.0, "normalised entropy of some column above this"},
                         {"max_tokens", 4096, 1, 1 << 20, "longer texts are refused: every map is replayed"}},
          .run = column_entropy_report};
}

Analysis over_mixing_analysis() {
  return {.id = "over-mixing",
          .title = "Mixing of tokens over the layers, with and without the sink",
          .summary = "How far each token spreads through the product of the layers' attention",
          .source = "Why do LLMs attend to the first token?",
          .needs = {Need::qkv},
          .by_default = false,
          .parameters = {{"max_tokens", 2048, 1, 1 << 20, "longer texts are refused: every map is replayed"}},
          .run = over_mixing_report};
}

}  // namespace headlight::analysis
