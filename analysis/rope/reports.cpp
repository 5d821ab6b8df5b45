#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/rope/makers.h"
#include "analysis/rope/operands.h"
#include "analysis/rope/rope_planes.h"
#include "analysis/row_replay.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

/// Mean band shares of the scores of some rows, weighted with attention.
BandShare scores_by_band(const AnalysisInput& input, RowReplay& replay, std::int64_t rows, int high_end,
                         int low_begin) {
  const std::vector<std::int64_t> chosen = spread_rows(replay.rows(), rows);
  std::vector<BandShare> share(chosen.size());
  input.pool.parallel_for(std::ssize(chosen), [&](std::int64_t r, int) {
    std::vector<float> attn_j;
    const kernels::KeyRange keys = replay.attention(chosen[static_cast<std::size_t>(r)], attn_j);
    BandShare& mean = share[static_cast<std::size_t>(r)];
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      const double attn = attn_j[static_cast<std::size_t>(j - keys.begin)];
      if (attn < 1e-6) continue;  // adds less than 1e-6 to a share
      const BandShare pair =
          band_share(replay.query(chosen[static_cast<std::size_t>(r)]), replay.key(j), high_end, low_begin);
      mean.high += std::isnan(pair.high) ? 0.0 : attn * pair.high;
      mean.low += std::isnan(pair.low) ? 0.0 : attn * pair.low;
    }
  });
  BandShare mean;
  for (const BandShare& one : share) {
    mean.high += one.high / static_cast<double>(share.size());
    mean.low += one.low / static_cast<double>(share.size());
  }
  return mean;
}

AnalysisReport frequency_usage(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto& model = input.capture.header().model;
  const double base = rope_base(input);
  const int planes = shape.head_dim / 2, high_end = planes_up_to(params["high_wavelength"], shape.head_dim, base);
  const int low_begin = std::max(
      high_end,
      planes_up_to(std::nextafter(0.5 * static_cast<double>(model.context_length), 0.0), shape.head_dim, base));
  std::vector<double> usage_q, usage_k, centroid, high_usage, high_share, low_share;
  for (int l = 0; l < shape.num_layers; ++l) {
    RowReplay replay(input.capture, input.record, l);
    for (int g = 0; g < shape.num_kv_heads; ++g) {
      const auto usage = plane_usage(read_keys(input, shape, l, g), shape.head_dim);
      usage_k.insert(usage_k.end(), usage.begin(), usage.end());
    }
    for (int h = 0; h < shape.num_heads; ++h) {
      check_stop(stop);
      const std::vector<float> q_id = read_queries(input, shape, l, h);
      const std::vector<double> usage = q_id.empty() ? std::vector<double>(static_cast<std::size_t>(planes), kUndefined)
                                                     : plane_usage(q_id, shape.head_dim);
      usage_q.insert(usage_q.end(), usage.begin(), usage.end());
      centroid.push_back(spectral_centroid(usage));
      high_usage.push_back(band_usage(usage, 0, high_end));
      BandShare share{kUndefined, kUndefined};
      if (!q_id.empty()) {
        replay.open(h);
        share = scores_by_band(input, replay, params["rows"], high_end, low_begin);
      }
      high_share.push_back(share.high);
      low_share.push_back(share.low);
    }
  }
  const auto related = [&](const char* id) {
    const Buffer<float> values = input.capture.head_statistic(input.record, id);
    return correlation(high_share, std::vector<double>(values.begin(), values.end()));
  };
  AnalysisReport report;
  report.series.push_back(
      number_series("high_planes", "1", "planes with a wavelength of at most high_wavelength", high_end, 0, planes));
  report.series.push_back(number_series("low_planes", "1", "planes with a wavelength of at least half the context",
                                        planes - low_begin, 0, planes));
  report.series.push_back(number_series("correlation_off1", "1",
                                        "correlation over heads of high_share with the mass on the previous token",
                                        related("off1"), -1, 1));
  report.series.push_back(number_series("correlation_off0", "1",
                                        "correlation over heads of high_share with the mass on the token itself",
                                        related("off0"), -1, 1));
  report.series.push_back(head_series("centroid", "plane", "sum_f f U_f / sum_f U_f of the queries", shape,
                                      std::move(centroid), 0, planes));
  report.series.push_back(
      head_series("high_usage", "1", "share of sum_f U_f in fast planes, queries", shape, std::move(high_usage)));
  report.series.push_back(
      head_series("high_share", "1", "E_A |sum of c_f over fast planes| / sum_f |c_f|", shape, std::move(high_share)));
  report.series.push_back(head_series("low_share", "1", "the same over slow planes", shape, std::move(low_share)));
  report.series.push_back({"usage_q",
                           "1",
                           "mean_i |q_i^(f)|",
                           {"layer", "head", "plane"},
                           {shape.num_layers, shape.num_heads, planes},
                           std::move(usage_q),
                           0,
                           kInfinity});
  report.series.push_back({"usage_k",
                           "1",
                           "mean_j |k_j^(f)|",
                           {"layer", "kv_head", "plane"},
                           {shape.num_layers, shape.num_kv_heads, planes},
                           std::move(usage_k),
                           0,
                           kInfinity});
  report.notes.emplace_back("planes are taken to cover the whole head: models that rotate a part of it mix both here");
  if (has_scaled_rope(input)) report.notes.push_back(scaling_note(input));
  return report;
}

/// D_o of one head for offsets 0..last: exact, from the rows that are kept. Row p is left out, as in role scores.
std::vector<double> offset_masses(const RowReplay& replay, std::int64_t first, int last) {
  std::vector<double> sum(static_cast<std::size_t>(last) + 1, 0.0), count(sum.size(), 0.0);
  std::vector<float> attn_j;
  for (std::int64_t i = std::max(replay.rows().begin, first + 1); i < replay.rows().end; ++i) {
    const kernels::KeyRange keys = replay.attention_near(i, last + 1, attn_j);
    for (int o = 0; o <= last && i - o >= first; ++o) {
      count[static_cast<std::size_t>(o)] += 1.0;
      if (i - o < keys.begin) continue;  // a window hides it: no mass
      sum[static_cast<std::size_t>(o)] += static_cast<double>(attn_j[static_cast<std::size_t>(i - o - keys.begin)]);
    }
  }
  for (std::size_t o = 0; o < sum.size(); ++o) sum[o] = count[o] > 0 ? sum[o] / count[o] : kUndefined;
  return sum;
}

std::vector<double> all_offset_masses(const AnalysisInput& input, const RecordShape& shape, int last,
                                      const std::stop_token& stop) {
  const auto width = static_cast<std::size_t>(last) + 1;
  std::vector<double> mass(shape.num_cells() * width, kUndefined);
  for (int l = 0; l < shape.num_layers; ++l) {
    RowReplay replay(input.capture, input.record, l);
    for (int h = 0; h < shape.num_heads; ++h) {
      check_stop(stop);
      if (!replay.recorded(h)) continue;
      replay.open(h);
      const auto of_head = offset_masses(replay, shape.first_key, last);
      std::copy(of_head.begin(), of_head.end(),
                mass.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(l * shape.num_heads + h) * width));
    }
  }
  return mass;
}

AnalysisReport positional_heads(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const int last = params["offsets"];
  const auto width = static_cast<std::size_t>(last) + 1;
  const std::vector<double> mass = all_offset_masses(input, shape, last, stop);
  const std::int64_t other = params["random_record"];
  std::vector<double> invariance;
  if (other >= 0) {
    if (other >= input.capture.num_records() || other == input.record)
      throw Error(Errc::invalid_argument, fmt::format("random_record {} is not another record of the {} there are",
                                                      other, input.capture.num_records()));
    const AnalysisInput random{input.capture, other, input.pool};
    invariance = all_offset_masses(random, record_shape(random), last, stop);
    for (std::size_t at = 0; at < mass.size(); ++at) invariance[at] = 1.0 - std::abs(mass[at] - invariance[at]);
  }
  Table table{.id = "heads", .title = "Positional heads", .columns = {"head", "offset", "mass", "strong"}, .rows = {}};
  for (std::size_t cell = 0; cell < shape.num_cells(); ++cell)
    for (std::size_t o = 0; o < width; ++o)
      if (mass[cell * width + o] >= params["positional"].get<double>())
        table.rows.push_back({cell_name(shape, cell), o, mass[cell * width + o],
                              mass[cell * width + o] >= params["strong"].get<double>()});
  std::stable_sort(table.rows.begin(), table.rows.end(), [](const auto& a, const auto& b) {
    return a[2].template get<double>() > b[2].template get<double>();
  });
  AnalysisReport report;
  report.tables.push_back(std::move(table));
  report.series.push_back({"offset_mass",
                           "1",
                           "D_o = mean_{i >= o, i > p} A_i,i-o",
                           {"layer", "head", "offset"},
                           {shape.num_layers, shape.num_heads, last + 1},
                           mass,
                           0,
                           1});
  if (!invariance.empty())
    report.series.push_back({"invariance",
                             "1",
                             "1 - |D_o(text) - D_o(random)|",
                             {"layer", "head", "offset"},
                             {shape.num_layers, shape.num_heads, last + 1},
                             std::move(invariance),
                             0,
                             1});
  else
    report.notes.emplace_back(
        "a positional head keeps its mass on random tokens: capture both texts as a corpus at level replay and name "
        "the other as random_record");
  return report;
}

}  // namespace

Analysis frequency_usage_analysis() {
  return {.id = "frequency-usage",
          .title = "Which rotary frequencies heads use",
          .summary = "Lengths of queries and keys by rotary plane, and which planes make the scores",
          .source = "Round and Round We Go! What makes Rotary Positional Encodings useful?",
          .needs = {Need::row, Need::qkv},
          .parameters = {{"high_wavelength", 64.0, 1.0, kInfinity, "planes up to this wavelength (tokens) are fast"},
                         {"rows", 16, 1, 1 << 20, "rows whose scores are taken apart"}},
          .run = frequency_usage};
}

Analysis positional_heads_analysis() {
  return {.id = "positional-heads",
          .title = "Positional heads",
          .summary = "Heads that look at a fixed offset: themselves, the previous token, ...",
          .source = "Round and Round We Go! What makes Rotary Positional Encodings useful?",
          .needs = {Need::row, Need::qkv},
          .parameters = {{"offsets", 8, 0, 1024, "largest offset"},
                         {"positional", 0.4, 0.0, 1.0, "mean mass from which a head is positional"},
                         {"strong", 0.9, 0.0, 1.0, "mean mass from which it is strongly so"},
                         {"random_record", -1, -1, 1 << 24, "record with random tokens to compare with; -1 = none"}},
          .run = positional_heads};
}

}  // namespace headlight::analysis
