// Rules that read head and row statistics.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/findings/rule_support.h"
#include "analysis/findings/rules.h"

namespace headlight::analysis::rules {
namespace {

constexpr double kStrongSink = 0.5, kWeakSink = 0.3, kPositional = 0.4, kStrongPositional = 0.9;

// Rows of a head in which a row statistic passes, of those that see at least two keys.
struct RowCount {
  std::int64_t passing = 0, rows = 0;
};
RowCount rows_above(const FindingsInput& input, const RecordShape& shape, std::size_t cell, std::string_view statistic,
                    double limit) {
  const auto layer = static_cast<int>(cell) / shape.num_heads, head = static_cast<int>(cell) % shape.num_heads;
  const auto value_hi = input.capture.statistic(input.record, statistic, layer);
  RowCount count;
  for (std::int64_t i = 0; i < shape.num_rows; ++i) {
    const double value = value_hi[head * shape.num_rows + i];
    if (std::isnan(value) || shape.geometry_l[layer].visible_keys(i) < 2) continue;
    ++count.rows;
    count.passing += value >= limit;
  }
  return count;
}

// Share of the heads, softened so that a few of many still count.
double weight_of(std::size_t count, std::size_t all) {
  return all == 0 ? 0.0 : std::sqrt(static_cast<double>(count) / static_cast<double>(all));
}

Finding statement(double weight, std::string text, std::string meaning, std::string series,
                  std::vector<heads::HeadId> heads = {}) {
  Finding finding;
  finding.weight = std::clamp(weight, 0.0, 1.0);
  finding.statement = std::move(text);
  finding.meaning = std::move(meaning);
  finding.evidence.analysis = "statistics";
  finding.evidence.series = std::move(series);
  finding.evidence.heads = std::move(heads);
  return finding;
}

Finding nothing(std::string text, std::string meaning, std::string series) {
  Finding finding = statement(0.0, std::move(text), std::move(meaning), std::move(series));
  finding.nothing_found = true;
  return finding;
}

std::vector<Finding> positional(const FindingsInput& input, std::string_view statistic, const std::string& where,
                                const std::string& name) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto value_lh = head_values(input, statistic);
  if (value_lh.empty()) return {};
  const auto cells = ranked(value_lh, [](double v) { return v >= kPositional; });
  const auto strong = ranked(value_lh, [](double v) { return v >= kStrongPositional; });
  if (cells.empty()) {
    const auto best = ranked(value_lh, [](double) { return true; });
    return {nothing(fmt::format("No head attends mainly to {}; the most any head gives it is {}.", where,
                                best.empty() ? "0 %" : percent(value_lh[best[0]])),
                    fmt::format("{} heads have at least 40 % there.", name), std::string(statistic))};
  }
  const double top = value_lh[cells[0]];
  auto text = fmt::format("{} at least {} of their attention to {}, {} most ({}{}{})",
                          count_of_heads(cells.size(), value_lh.size(), "give", "gives"), percent(kPositional), where,
                          cell_name(shape, cells[0]), percent(top), cells.size() > 1 ? "; then " : "",
                          name_list(shape, std::span(cells).subspan(1), 2));
  text += strong.empty() ? "." : fmt::format("; {} of them at least 90 %.", strong.size());
  return {statement(0.3 + 0.7 * weight_of(cells.size(), value_lh.size()) * top, std::move(text),
                    name + " heads work by position, whatever the text says.", std::string(statistic),
                    head_ids(shape, cells))};
}

}  // namespace

std::vector<Finding> first_token_heads(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto first_lh = head_values(input, "first");
  if (first_lh.empty()) return {};
  const auto all = ranked(first_lh, [](double) { return true; });
  const auto strong = ranked(first_lh, [](double v) { return v >= kStrongSink; });
  const std::string token = quoted_token(input, shape.first_key);
  if (all.empty()) return {};
  const auto count = rows_above(input, shape, all[0], "first", kStrongSink);
  const std::string strongest =
      fmt::format("{} gives it {} on average, more than half in {} of {} rows", cell_name(shape, all[0]),
                  percent(first_lh[all[0]]), count.passing, count.rows);
  if (first_lh[all[0]] < kWeakSink)
    return {nothing(fmt::format("No head uses the first token {} as a sink: {}.", token, strongest),
                    "Attention sinks are common but not universal; models with learned sinks or gates lack them.",
                    "first")};
  const double mean = mean_defined(first_lh);
  auto text =
      strong.empty()
          ? fmt::format("The first token {} receives {} of all attention; {}.", token, percent(mean), strongest)
          : fmt::format(
                "The first token {} receives {} of all attention: {} more than half of their "
                "attention to it; {}.",
                token, percent(mean), count_of_heads(strong.size(), first_lh.size(), "give", "gives"), strongest);
  return {
      statement(0.5 + 0.5 * mean, std::move(text),
                "An attention sink: most such heads rest there and write little (see whether its values are drained).",
                "first", head_ids(shape, strong.empty() ? all : strong))};
}

std::vector<Finding> streaming_heads(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto& plan = input.capture.header().plan;
  const auto sink_lh = head_values(input, "sink"), local_lh = head_values(input, "local");
  if (sink_lh.empty() || local_lh.empty()) return {};
  if (shape.num_rows <= 2 * plan.local_window)
    return {
        nothing(fmt::format("The text has {} tokens: too short to tell heads that only look at sinks and near tokens "
                            "(that takes more than {}).",
                            shape.num_rows, 2 * plan.local_window),
                "Within the window every head is local.", "local")};
  // Rows within the window hold everything in it: judge by rows behind it.
  std::vector<double> kept_lh(shape.num_cells(), kUndefined);
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto sink_hi = input.capture.statistic(input.record, "sink", l),
               local_hi = input.capture.statistic(input.record, "local", l);
    for (int h = 0; h < shape.num_heads; ++h) {
      double sum = 0.0, rows = 0.0;
      for (std::int64_t i = shape.first_key + plan.sink_size + plan.local_window; i < shape.num_rows; ++i) {
        sum += static_cast<double>(sink_hi[h * shape.num_rows + i]) + local_hi[h * shape.num_rows + i];
        ++rows;
      }
      kept_lh[l * shape.num_heads + h] = rows > 0 ? sum / rows : kUndefined;
    }
  }
  const auto cells = ranked(kept_lh, [](double v) { return v >= 0.95; });
  const std::string span = fmt::format("the first {} and the last {} tokens", plan.sink_size, plan.local_window);
  if (cells.empty())
    return {nothing(fmt::format("No head keeps 95 % of its attention on {}.", span),
                    "Dropping the middle of the cache would change every head.", "local")};
  return {statement(
      0.4 + 0.5 * weight_of(cells.size(), kept_lh.size()),
      fmt::format("{} at least 95 % of their attention on {} ({}): streaming candidates.",
                  count_of_heads(cells.size(), kept_lh.size(), "keep", "keeps"), span, name_list(shape, cells)),
      "Their cache could be cut to a sink and a window; whether the output survives has to be measured.", "local",
      head_ids(shape, cells))};
}

std::vector<Finding> previous_token_heads(const FindingsInput& input) {
  return positional(input, "off1", "the previous token", "Previous-token");
}

std::vector<Finding> own_token_heads(const FindingsInput& input) {
  return positional(input, "off0", "the token itself", "Own-token");
}

std::vector<Finding> content_heads(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto pmax = head_values(input, "pmax"), first = head_values(input, "first"), own = head_values(input, "off0"),
             previous = head_values(input, "off1");
  if (pmax.empty() || first.empty() || own.empty() || previous.empty()) return {};
  std::vector<double> peaked(pmax.size(), kUndefined);
  for (std::size_t c = 0; c < pmax.size(); ++c)
    if (first[c] + own[c] + previous[c] < 0.3) peaked[c] = pmax[c];
  const auto cells = ranked(peaked, [](double v) { return v >= 0.5; });
  if (cells.empty())
    return {nothing("No head points at single tokens other than the first, the previous or its own.",
                    "Sharp attention that follows the content was not seen in this text.", "pmax")};
  return {statement(
      0.45 + 0.5 * weight_of(cells.size(), pmax.size()),
      fmt::format("{} at one token at a time, and neither the first, the previous nor the own one ({}; largest "
                  "weight {} on average).",
                  count_of_heads(cells.size(), pmax.size(), "point", "points"), name_list(shape, cells),
                  percent(peaked[cells[0]])),
      "Candidates for induction, copying or retrieval: their maps are worth a look.", "pmax", head_ids(shape, cells))};
}

std::vector<Finding> uniform_heads(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto value_lh = head_values(input, "entropy_normalized");
  if (value_lh.empty()) return {};
  const auto cells = ranked(value_lh, [](double v) { return v >= 0.9; });
  if (cells.empty())
    return {nothing("No head spreads its attention evenly (at least 90 % of the largest possible entropy).",
                    "Heads that average everything before them are missing here.", "entropy_normalized")};
  return {
      statement(0.35 + 0.5 * weight_of(cells.size(), value_lh.size()),
                fmt::format("{} nearly everything alike: entropy above 90 % of its maximum ({}).",
                            count_of_heads(cells.size(), value_lh.size(), "treat", "treats"), name_list(shape, cells)),
                "Such heads average over the text.", "entropy_normalized", head_ids(shape, cells))};
}

std::vector<Finding> far_looking_heads(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto distance = head_values(input, "dist1"), first = head_values(input, "first");
  if (distance.empty() || first.empty()) return {};
  const double possible = 0.5 * static_cast<double>(shape.num_rows - shape.first_key - 1);  // mean of i over rows
  std::vector<double> far(distance.size(), kUndefined);
  for (std::size_t c = 0; c < far.size(); ++c)
    if (first[c] < 0.2) far[c] = distance[c];
  const auto cells = ranked(far, [&](double v) { return v >= possible / 3.0 && v >= 8.0; });
  if (cells.empty())
    return {nothing("No head looks far back except at the first token.",
                    "Long-range use of the text, if any, is spread over many heads.", "dist1")};
  return {statement(
      0.35 + 0.5 * weight_of(cells.size(), far.size()),
      fmt::format("{} far back without resting on the first token ({}; up to {:.0f} tokens on average, of {:.0f} "
                  "possible).",
                  count_of_heads(cells.size(), far.size(), "look", "looks"), name_list(shape, cells), far[cells[0]],
                  possible),
      "These heads lose most when the cache is cut.", "dist1", head_ids(shape, cells))};
}

std::vector<Finding> layer_entropy(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto entropy_lh = head_values(input, "entropy");
  if (entropy_lh.empty() || shape.num_layers < 2) return {};
  std::vector<double> mean_l;
  for (int l = 0; l < shape.num_layers; ++l)
    mean_l.push_back(mean_defined(std::span(entropy_lh).subspan(l * shape.num_heads, shape.num_heads)));
  const auto low = std::min_element(mean_l.begin(), mean_l.end()),
             high = std::max_element(mean_l.begin(), mean_l.end());
  const int low_layer = shape.layers[low - mean_l.begin()], high_layer = shape.layers[high - mean_l.begin()];
  if (*high - *low < 1.0)
    return {nothing(
        fmt::format("Layers are about equally spread: mean entropy {:.2f} nat (layer {}) to {:.2f} nat (layer {}).",
                    *low, low_layer, *high, high_layer),
        "", "entropy")};
  return {statement(
      0.3 + 0.1 * (*high - *low),
      fmt::format("Attention is sharpest in layer {} (mean entropy {:.2f} nat) and widest in layer {} ({:.2f} nat).",
                  low_layer, *low, high_layer, *high),
      fmt::format("In tokens: {:.0f} against {:.0f} that count.", std::exp(*low), std::exp(*high)), "entropy")};
}

std::vector<Finding> later_sinks(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const std::int64_t begin = shape.first_key + input.capture.header().plan.sink_size;
  struct Sink {
    std::int64_t key = 0, heads = 0;
    double most = 0.0;
    std::size_t cell = 0;
  };
  std::vector<Sink> sinks(shape.num_rows);
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto mean_hj = input.capture.statistic(input.record, "received_mean", l);
    for (std::int64_t h = 0; h < shape.num_heads; ++h)
      for (std::int64_t j = begin; j < shape.num_rows; ++j) {
        const double value = mean_hj[h * shape.num_rows + j];
        if (!(value >= 0.1) || shape.geometry_l[l].visible_rows(j) < sink_min_rows(shape.num_rows)) continue;
        sinks[j].key = j;
        ++sinks[j].heads;
        if (value <= sinks[j].most) continue;
        sinks[j].most = value;
        sinks[j].cell = l * shape.num_heads + h;
      }
  }
  std::erase_if(sinks, [](const Sink& sink) { return sink.heads == 0; });
  std::stable_sort(sinks.begin(), sinks.end(), [](const Sink& a, const Sink& b) { return a.heads > b.heads; });
  if (sinks.empty())
    return {nothing("No token behind the first ones acts as a sink in any head.", "", "received_mean")};
  std::string text;
  Finding finding =
      statement(0.3 + 0.6 * weight_of(static_cast<std::size_t>(sinks[0].heads), shape.num_cells()), "",
                "Often punctuation or line breaks: places where heads rest within the text.", "received_mean");
  for (std::size_t n = 0; n < std::min<std::size_t>(sinks.size(), 3); ++n) {
    text += fmt::format("{}{} at {} ({} {}, up to {} in {})", n == 0 ? "" : ", ", quoted_token(input, sinks[n].key),
                        sinks[n].key, sinks[n].heads, sinks[n].heads == 1 ? "head" : "heads", percent(sinks[n].most),
                        cell_name(shape, sinks[n].cell));
    finding.evidence.tokens.push_back(sinks[n].key);
    const std::size_t cell[] = {sinks[n].cell};
    const auto head = head_ids(shape, cell)[0];
    auto& named = finding.evidence.heads;
    if (std::find(named.begin(), named.end(), head) == named.end()) named.push_back(head);
  }
  finding.statement = fmt::format("{} behind the first ones {} sinks: {}.",
                                  sinks.size() == 1 ? "One token" : fmt::format("{} tokens", sinks.size()),
                                  sinks.size() == 1 ? "is a sink in some head; counted as" : "are", text);
  return {std::move(finding)};
}

}  // namespace headlight::analysis::rules
