// Analyses of rows that are replayed from q, k and lse.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/entropy/concentration.h"
#include "analysis/entropy/image_entropy.h"
#include "analysis/entropy/layer_preference.h"
#include "analysis/entropy/makers.h"
#include "analysis/entropy/span.h"
#include "analysis/row_replay.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

template <class T>
std::vector<T> list_of(const Json& json) {
  return json.get<std::vector<T>>();
}

/// Values [L][H][width], NaN where a head is not recorded.
struct HeadTable {
  HeadTable(const RecordShape& of, std::size_t entries)
      : shape(of), width(entries), values(of.num_cells() * entries, kUndefined) {}
  double* at(int layer, int head) { return &values[static_cast<std::size_t>(layer * shape.num_heads + head) * width]; }
  Series series(std::string id, std::string unit, std::string formula, std::string axis, double low, double high) && {
    return {std::move(id),
            std::move(unit),
            std::move(formula),
            {"layer", "head", std::move(axis)},
            {shape.num_layers, shape.num_heads, static_cast<std::int64_t>(width)},
            std::move(values),
            low,
            high};
  }
  const RecordShape& shape;
  std::size_t width;
  std::vector<double> values;
};

auto spread(std::int64_t count) {
  return [count](kernels::KeyRange rows) { return spread_rows(rows, count); };
}

std::string rows_note(std::int64_t rows) {
  return fmt::format("from {} rows, evenly spaced over those recorded for replay, each exact", rows);
}

AnalysisReport concentration_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const ConcentrationOptions options{.counts = list_of<std::int64_t>(params["counts"]),
                                     .shares = list_of<double>(params["shares"]),
                                     .levels = list_of<double>(params["levels"])};
  HeadTable top(shape, options.counts.size()), share(shape, options.shares.size()),
      coverage(shape, options.levels.size()), weight_mass(shape, WeightHistogram::kBins), single(shape, 4);
  std::int64_t num_rows = 0;
  for_each_sampled_head(
      input, shape, spread(params["rows"]), stop, [&](int layer, int head, const SampledRows& sampled) {
        std::vector<Concentration> row(sampled.rows.size());
        input.pool.parallel_for(std::ssize(row), [&](std::int64_t r, int) {
          row[static_cast<std::size_t>(r)] = concentration(sampled.attn_rj[static_cast<std::size_t>(r)], options);
        });
        num_rows = std::ssize(row);
        const auto n = static_cast<double>(row.size());
        const auto mean = [&](double* out, std::size_t width, auto value) {
          std::fill_n(out, width, 0.0);
          for (const Concentration& one : row)
            for (std::size_t k = 0; k < width; ++k) out[k] += static_cast<double>(value(one, k)) / n;
        };
        mean(top.at(layer, head), options.counts.size(),
             [](const Concentration& one, std::size_t k) { return one.top_mass[k]; });
        mean(share.at(layer, head), options.shares.size(),
             [](const Concentration& one, std::size_t k) { return one.top_share_mass[k]; });
        mean(coverage.at(layer, head), options.levels.size(),
             [](const Concentration& one, std::size_t k) { return one.coverage[k]; });
        mean(single.at(layer, head), 4, [](const Concentration& one, std::size_t k) {
          return k == 0 ? one.effective_support : k == 1 ? one.participation : k == 2 ? one.gini : one.pmax;
        });
        WeightHistogram histogram;
        for (const auto& attn_j : sampled.attn_rj) histogram.add(attn_j);
        for (std::size_t b = 0; b < WeightHistogram::kBins; ++b)
          weight_mass.at(layer, head)[b] = histogram.masses()[b] / n;
      });
  AnalysisReport report;
  const auto column = [&](std::size_t k) {
    std::vector<double> values;
    for (std::size_t at = k; at < single.values.size(); at += 4) values.push_back(single.values[at]);
    return values;
  };
  report.series.push_back(head_series("effective_support", "token", "mean_i exp(H_i)", shape, column(0), 1, kInfinity));
  report.series.push_back(
      head_series("participation", "token", "mean_i 1 / sum_j A_ij^2", shape, column(1), 1, kInfinity));
  report.series.push_back(head_series("gini", "1", "mean_i sum_r (2r - n - 1) A_(r) / (n sum A)", shape, column(2)));
  report.series.push_back(head_series("pmax", "1", "mean_i max_j A_ij", shape, column(3)));
  report.series.push_back(
      std::move(top).series("top_mass", "1", "mean_i mass of the k largest, k = counts", "count", 0, 1));
  report.series.push_back(
      std::move(share).series("top_share_mass", "1", "mean_i mass of the ceil(share n_i) largest", "share", 0, 1));
  report.series.push_back(
      std::move(coverage).series("coverage", "token", "mean_i smallest k with C_k >= level", "level", 0, kInfinity));
  report.series.push_back(std::move(weight_mass)
                              .series("mass_by_weight", "1",
                                      "mean_i mass of weights in [2^-((b+1)/4), 2^-(b/4)], the last bin holds the rest",
                                      "bin", 0, 1));
  report.notes.push_back(rows_note(num_rows));
  return report;
}

AnalysisReport span_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto windows = list_of<std::int64_t>(params["windows"]);
  const auto levels = list_of<double>(params["levels"]);
  const std::int64_t sink_end = shape.first_key + params["sink"].get<std::int64_t>();
  HeadTable window_mass(shape, windows.size()), octaves(shape, kDistanceBins), span(shape, levels.size());
  std::vector<double> relative(shape.num_cells(), kUndefined), without(shape.num_cells(), kUndefined);
  std::int64_t num_rows = 0;
  for_each_sampled_head(input, shape, spread(params["rows"]), stop,
                        [&](int layer, int head, const SampledRows& sampled) {
                          SpanStatistics statistics(windows, sink_end);
                          for (std::size_t r = 0; r < sampled.rows.size(); ++r)
                            statistics.add_row(sampled.rows[r], sampled.keys_r[r], sampled.attn_rj[r]);
                          num_rows = std::ssize(sampled.rows);
                          const auto cell = static_cast<std::size_t>(layer * shape.num_heads + head);
                          relative[cell] = statistics.relative_distance();
                          without[cell] = statistics.mean_distance_without_sink();
                          std::ranges::copy(statistics.window_mass(), window_mass.at(layer, head));
                          std::ranges::copy(statistics.octaves(), octaves.at(layer, head));
                          for (std::size_t k = 0; k < levels.size(); ++k)
                            span.at(layer, head)[k] = statistics.span(levels[k]);
                        });
  const Buffer<float> distance = input.capture.head_statistic(input.record, "distance");
  AnalysisReport report;
  report.series.push_back(head_series("distance", "token", "mean_i sum_j A_ij (i - j), all rows", shape,
                                      {distance.begin(), distance.end()}, 0, kInfinity));
  report.series.push_back(
      head_series("relative_distance", "1", "mean_i d_i / i", shape, std::move(relative), 0, kInfinity));
  report.series.push_back(head_series("distance_without_sink", "token",
                                      "mean_i of the distance over keys after the first tokens, renormalised", shape,
                                      std::move(without), 0, kInfinity));
  report.series.push_back(std::move(span).series(
      "span", "token", "smallest w with mean_i M_w(i) >= level, linear inside octaves", "level", 1, kInfinity));
  report.series.push_back(
      std::move(window_mass).series("window_mass", "1", "mean_i sum_{i-w < j} A_ij", "window", 0, 1));
  report.series.push_back(
      std::move(octaves).series("octaves", "1", "mean mass at distance 0, 1, 2-3, 4-7, ...", "octave", 0, 1));
  report.notes.push_back(rows_note(num_rows));
  return report;
}

AnalysisReport elastic_span_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const double level = params["level"];
  std::vector<double> lengths;
  std::vector<std::vector<double>> spans(shape.num_cells());
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) {
    const AnalysisInput of_record{input.capture, r, input.pool};
    const RecordShape record = record_shape(of_record);
    lengths.push_back(static_cast<double>(record.num_rows));
    for_each_sampled_head(
        of_record, record, spread(params["rows"]), stop, [&](int layer, int head, const SampledRows& sampled) {
          SpanStatistics statistics({}, 0);
          for (std::size_t k = 0; k < sampled.rows.size(); ++k)
            statistics.add_row(sampled.rows[k], sampled.keys_r[k], sampled.attn_rj[k]);
          spans[static_cast<std::size_t>(layer * record.num_heads + head)].push_back(statistics.span(level));
        });
  }
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  if (*shortest == *longest)
    throw Error(Errc::invalid_argument, "fits spans against lengths: needs a corpus with texts of different lengths");
  std::vector<double> alpha(shape.num_cells(), kUndefined), beta = alpha, fit = alpha;
  for (std::size_t cell = 0; cell < spans.size(); ++cell) {
    if (spans[cell].size() != lengths.size()) continue;
    const ElasticSpan elastic = fit_elastic_span(lengths, spans[cell]);
    alpha[cell] = elastic.alpha;
    beta[cell] = elastic.beta;
    fit[cell] = elastic.r_squared;
  }
  AnalysisReport report;
  report.series.push_back(head_series("beta", "1", "slope of span against N: 0 local, 1 global", shape, std::move(beta),
                                      -kInfinity, kInfinity));
  report.series.push_back(head_series("alpha", "token", "span(N) = alpha + beta N, least squares over the records",
                                      shape, std::move(alpha), -kInfinity, kInfinity));
  report.series.push_back(
      head_series("r_squared", "1", "share of the variance that the line explains", shape, std::move(fit)));
  return report;
}

AnalysisReport layer_preference_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const capture::RecordInfo info = input.capture.record(input.record);
  const std::int64_t window = params["window"], last = info.header.num_prompt_tokens, num_keys = last - window;
  if (num_keys <= shape.first_key || info.replay_row_begin > num_keys || info.replay_row_end < last)
    throw Error(Errc::invalid_argument,
                fmt::format("needs keys before, and queries of, the last {} rows of the prompt", window));
  std::vector<WindowMoments> moments(static_cast<std::size_t>(shape.num_layers));
  const auto last_rows = [&](kernels::KeyRange) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = num_keys; i < last; ++i) rows.push_back(i);
    return rows;
  };
  std::vector<float> attn_ij;
  std::vector<int> heads(moments.size(), 0);
  for_each_sampled_head(input, shape, last_rows, stop, [&](int layer, int, const SampledRows& sampled) {
    attn_ij.assign(static_cast<std::size_t>(window * num_keys), 0.0f);  // keys that a window hides stay 0
    for (std::size_t r = 0; r < sampled.rows.size(); ++r) {
      const kernels::KeyRange keys = sampled.keys_r[r];
      const auto count = std::max<std::int64_t>(0, std::min(keys.end, num_keys) - keys.begin);
      std::copy_n(sampled.attn_rj[r].begin(), count,
                  attn_ij.begin() + static_cast<std::int64_t>(r) * num_keys + keys.begin);
    }
    const WindowMoments head = window_moments(attn_ij, num_keys);
    WindowMoments& sum = moments[static_cast<std::size_t>(layer)];
    sum.dispersion += head.dispersion;
    sum.shift += head.shift;
    sum.kurtosis += head.kurtosis;
    sum.clamped += head.clamped;
    ++heads[static_cast<std::size_t>(layer)];
  });
  std::vector<double> dispersion, shift, kurtosis, clamped, preference, score;
  for (std::size_t l = 0; l < moments.size(); ++l) {
    const WindowMoments& layer = moments[l];
    dispersion.push_back(layer.dispersion);
    shift.push_back(layer.shift);
    kurtosis.push_back(layer.kurtosis);
    clamped.push_back(heads[l] > 0 ? layer.clamped / heads[l] : kUndefined);
    preference.push_back(cake_preference(layer.dispersion, layer.shift, params["tau1"], params["tau2"]));
    score.push_back(arkv_score(layer));
  }
  const double largest = *std::max_element(score.begin(), score.end());
  for (double& value : score) value = largest > 0 ? value / largest : kUndefined;
  const std::vector<std::int64_t> budget = cake_budgets(preference, params["budget"], window, num_keys);
  AnalysisReport report;
  const auto add = [&](const char* id, const char* unit, const char* formula, std::vector<double> values) {
    report.series.push_back({id, unit, formula, {"layer"}, {shape.num_layers}, std::move(values), 0, kInfinity});
  };
  add("dispersion", "nat", "-sum_h sum_i sum_j A ln(A + 1e-10), last rows, keys before them", std::move(dispersion));
  add("shift", "1", "sum_h sum_j Var_i(A_ij)", std::move(shift));
  add("kurtosis", "1", "sum_h sum_j m4 / max(m2, 1e-8)^2", std::move(kurtosis));
  add("clamped", "1", "share of keys whose m2 is below 1e-8", std::move(clamped));
  add("preference", "1", "P = dispersion^(1/tau1) shift^(1/tau2)", std::move(preference));
  add("arkv_ratio", "1", "OQ / max OQ, OQ = dispersion^(1/7.774) shift^(1/5.407) kurtosis^(1/5.528)", std::move(score));
  add("cake_budget", "token", "keys kept beside the window for the mean budget", {budget.begin(), budget.end()});
  report.notes.emplace_back("sums grow with heads and keys: only ratios between layers mean something");
  report.notes.emplace_back("kurtosis is decided by its clamp where most keys are clamped");
  return report;
}

AnalysisReport image_entropy_report(const AnalysisInput& input, const Json&, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t samples = input.capture.num_records();
  if (samples < 2) throw Error(Errc::invalid_argument, "compares samples: needs a corpus of at least two records");
  std::vector<double> entropy_sl;
  for (std::int64_t r = 0; r < samples; ++r) {
    const AnalysisInput sample{input.capture, r, input.pool};
    const RecordShape record = record_shape(sample);
    const capture::RecordHeader header = input.capture.record(r).header;
    const auto image = std::find_if(header.segments.begin(), header.segments.end(),
                                    [](const auto& segment) { return segment.name.starts_with("image"); });
    if (image == header.segments.end())
      throw Error(Errc::invalid_argument, fmt::format("record {} has no segment named 'image ...'", r));
    const auto tokens = static_cast<std::size_t>(image->end - image->begin);
    std::vector<std::vector<float>> attn_l(static_cast<std::size_t>(record.num_layers));
    for_each_sampled_head(
        sample, record, [&](kernels::KeyRange) { return std::vector<std::int64_t>{header.num_prompt_tokens - 1}; },
        stop,
        [&](int layer, int, const SampledRows& sampled) {
          std::vector<float> attn(tokens, 0.0f);
          for (std::int64_t j = std::max(image->begin, sampled.keys_r[0].begin);
               j < std::min(image->end, sampled.keys_r[0].end); ++j)
            attn[static_cast<std::size_t>(j - image->begin)] =
                sampled.attn_rj[0][static_cast<std::size_t>(j - sampled.keys_r[0].begin)];
          auto& all = attn_l[static_cast<std::size_t>(layer)];
          all.insert(all.end(), attn.begin(), attn.end());
        });
    for (const auto& attn_hj : attn_l) entropy_sl.push_back(image_entropy(attn_hj, tokens));
  }
  const ImageVerdict verdict = image_verdict(entropy_sl, static_cast<std::size_t>(shape.num_layers));
  AnalysisReport report;
  Table layers{.id = "layers",
               .title = "Two normal distributions per layer",
               .columns = {"layer", "mean1", "deviation1", "mean2", "deviation2", "kl", "sensitive"},
               .rows = {}};
  for (std::size_t l = 0; l < verdict.layers.size(); ++l) {
    const TwoNormals& fit = verdict.layers[l];
    layers.rows.push_back({shape.layers[l], fit.mean[0], fit.deviation[0], fit.mean[1], fit.deviation[1], fit.kl(),
                           verdict.sensitive[l] != 0});
  }
  Table table{.id = "samples", .title = "Samples", .columns = {"record", "score", "suspicious"}, .rows = {}};
  for (std::size_t s = 0; s < verdict.score.size(); ++s)
    table.rows.push_back({s, verdict.score[s], verdict.suspicious[s] != 0});
  report.tables = {std::move(layers), std::move(table)};
  report.series.push_back(
      {"entropy",
       "nat",
       "-sum_j a_j ln(a_j + 1e-8), a = mean over heads of the last prompt row on the image, renormalised",
       {"record", "layer"},
       {samples, shape.num_layers},
       std::move(entropy_sl),
       0,
       kInfinity});
  if (verdict.score.empty()) report.notes.emplace_back("no verdict: no layer separates the samples into two groups");
  return report;
}

}  // namespace

Analysis concentration_analysis() {
  return {.id = "concentration",
          .title = "Concentration of rows",
          .summary = "How many keys hold how much of a row: coverage, effective support, Gini",
          .source = "definition",
          .needs = {Need::row, Need::qkv},
          .parameters = {{"rows", 64, 1, 1 << 20, "rows that are looked at"},
                         {"counts", {1, 4, 16, 64, 256}, 1, 1 << 30, "k of top_mass"},
                         {"shares", {0.01, 0.05, 0.10}, 0.0, 1.0, "of the visible keys, for top_share_mass"},
                         {"levels", {0.5, 0.9, 0.95, 0.99}, 0.0, 1.0, "of coverage"}},
          .run = concentration_report};
}

Analysis span_analysis() {
  return {.id = "span",
          .title = "Distance and span",
          .summary = "How far heads look back, with and without the first tokens",
          .source = "A Multiscale Visualization of Attention in the Transformer Model",
          .needs = {Need::row, Need::qkv},
          .parameters = {{"rows", 128, 1, 1 << 20, "rows that are looked at; distance counts all"},
                         {"windows", {1, 16, 64, 256, 1024, 4096}, 1, 1 << 30, "of window_mass, self included"},
                         {"levels", {0.5, 0.9, 0.95}, 0.0, 1.0, "mass that the span must hold"},
                         {"sink", 4, 0, 1 << 20, "first tokens left out of distance_without_sink"}},
          .run = span_report};
}

Analysis elastic_span_analysis() {
  return {.id = "elastic-span",
          .title = "Span against the length of the text",
          .summary = "Heads whose window is fixed, and heads whose window grows with the text",
          .source = "MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression",
          .needs = {Need::row, Need::qkv},
          .by_default = false,
          .parameters = {{"level", 0.9, 0.0, 1.0, "mass that the span must hold"},
                         {"rows", 128, 1, 1 << 20, "rows of each text that are looked at"}},
          .run = elastic_span_report};
}

Analysis layer_preference_analysis() {
  return {.id = "layer-preference",
          .title = "Preference of layers for cache memory",
          .summary = "Dispersion and shift of the last rows' attention, and the budgets that follow",
          .source = "CAKE: Cascading and Adaptive KV Cache Eviction with Layer Preferences",
          .needs = {Need::qkv},
          .parameters = {{"window", 32, 2, 1 << 20, "last rows of the prompt"},
                         {"tau1", 1.6, 0.01, 1000.0, "exponent 1/tau1 of dispersion; Llama-3.1-8B at 1024 tokens"},
                         {"tau2", 0.4, 0.01, 1000.0, "exponent 1/tau2 of shift"},
                         {"budget", 1024, 1, 1 << 30, "mean tokens per layer, window included"}},
          .run = layer_preference_report};
}

Analysis image_entropy_analysis() {
  return {.id = "image-entropy",
          .title = "Entropy of attention to the image",
          .summary = "Samples whose attention to the image is suspiciously concentrated, over a corpus with images",
          .source = "Backdoor Cleaning without External Guidance in MLLM Fine-tuning",
          .needs = {Need::qkv},
          .by_default = false,
          .run = image_entropy_report};
}

}  // namespace headlight::analysis
