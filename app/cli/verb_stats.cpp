#include <algorithm>
#include <cmath>
#include <numeric>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/npy.h"
#include "app/cli/ranges.h"
#include "base/closest_match.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture/statistics.h"

namespace headlight::cli {
namespace {

constexpr std::size_t kMaxJsonValues = 1000;

struct StatsOptions {
  CaptureInputOptions capture;
  HeadOptions heads;
  std::string metric, per = "head", layers, output;
  int top = 0;
  bool force = false;
};

/// Values of one metric over the selected heads: [heads][values_per_head].
struct Table {
  std::vector<HeadId> heads;
  std::int64_t values_per_head = 1;
  std::vector<float> values;
};

const capture::StatisticInfo& find_metric(const capture::CaptureView& view, std::int64_t record,
                                          const std::string& id) {
  const auto* info = capture::find_statistic(id);
  const auto available = view.available_statistics(record);
  if (info != nullptr) return *info;
  std::string list;
  for (const auto& name : available) list += (list.empty() ? "" : ", ") + name;
  const std::string guess = closest_match(id, available);
  throw Error(Errc::invalid_argument,
              fmt::format("unknown statistic '{}'{}; this capture holds: {}", id,
                          guess.empty() ? "" : fmt::format(" (did you mean {}?)", guess), list),
              {.file = {}, .field = "--metric", .offset = {}, .hint = {}});
}

Table collect(const capture::CaptureView& view, const StatsOptions& options) {
  const auto& header = view.header();
  const int num_heads = header.model.num_heads;
  std::vector<int> layers = header.plan.layers;
  if (!options.layers.empty()) {
    layers = parse_index_list("--layers", options.layers, header.model.num_layers);
    for (const int layer : layers) recorded_index(view, layer);
  }
  const auto selected = select_heads(options.heads, capture_head_facts(view, options.heads.headplan), layers);
  Table table;
  const bool per_head = options.per == "head";
  const Buffer<float> head_values =
      per_head ? view.head_statistic(options.capture.record, options.metric) : Buffer<float>();
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const int index = recorded_index(view, layers[l]);
    Buffer<float> rows;
    if (!per_head) {
      rows = view.statistic(options.capture.record, options.metric, index);
      table.values_per_head = static_cast<std::int64_t>(rows.size()) / num_heads;
    }
    for (int h = 0; h < num_heads; ++h) {
      if (selected[l * static_cast<std::size_t>(num_heads) + static_cast<std::size_t>(h)] == 0) continue;
      table.heads.push_back({layers[l], h});
      if (per_head)
        table.values.push_back(head_values[static_cast<std::size_t>(index * num_heads + h)]);
      else
        table.values.insert(table.values.end(), rows.begin() + h * table.values_per_head,
                            rows.begin() + (h + 1) * table.values_per_head);
    }
  }
  if (table.heads.empty())
    throw Error(Errc::invalid_argument, "no head is selected",
                {.file = {}, .field = "--heads", .offset = {}, .hint = {}});
  return table;
}

std::string csv_text(const Table& table, const StatsOptions& options) {
  const char* axis = options.per == "col" ? "key" : "query";
  std::string text = options.per == "head" ? fmt::format("layer,head,{}\n", options.metric)
                                           : fmt::format("layer,head,{},{}\n", axis, options.metric);
  for (std::size_t k = 0; k < table.heads.size(); ++k)
    for (std::int64_t i = 0; i < table.values_per_head; ++i) {
      const float value =
          table.values[k * static_cast<std::size_t>(table.values_per_head) + static_cast<std::size_t>(i)];
      text += options.per == "head" ? fmt::format("{},{},{}\n", table.heads[k].layer, table.heads[k].head, value)
                                    : fmt::format("{},{},{},{}\n", table.heads[k].layer, table.heads[k].head, i, value);
    }
  return text;
}

void write_output(const capture::CaptureView& view, const Table& table, const StatsOptions& options) {
  if (options.output.ends_with(".csv")) {
    OutputFile file(options.output, options.force);
    file.write(csv_text(table, options));
    file.commit();
    return;
  }
  if (!options.output.ends_with(".npy"))
    throw Error(Errc::invalid_argument,
                fmt::format("expected a file ending in .csv or .npy, found '{}'", options.output),
                {.file = {}, .field = "--out", .offset = {}, .hint = {}});
  // .npy keeps the model's grid: heads that were not selected are NaN.
  const auto& header = view.header();
  const auto num_layers = std::ssize(header.plan.layers);
  const std::int64_t num_heads = header.model.num_heads;
  std::vector<float> grid(static_cast<std::size_t>(num_layers * num_heads * table.values_per_head), std::nanf(""));
  for (std::size_t k = 0; k < table.heads.size(); ++k) {
    const std::int64_t slot = recorded_index(view, table.heads[k].layer) * num_heads + table.heads[k].head;
    std::copy_n(table.values.begin() + static_cast<std::ptrdiff_t>(k) * table.values_per_head, table.values_per_head,
                grid.begin() + slot * table.values_per_head);
  }
  std::vector<std::int64_t> shape = {num_layers, num_heads};
  if (options.per != "head") shape.push_back(table.values_per_head);
  write_npy(options.output, grid, shape, options.force);
}

std::string ranked_text(const Table& table, const StatsOptions& options, const capture::StatisticInfo& info) {
  std::vector<std::size_t> order(table.heads.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](std::size_t k) { return std::isnan(table.values[k]) ? -INFINITY : table.values[k]; };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rank(a) > rank(b); });
  const std::size_t count =
      options.top > 0 ? std::min<std::size_t>(order.size(), static_cast<std::size_t>(options.top)) : order.size();
  std::string text = fmt::format("{} ({}): {}\n{:>8} {:>12}\n", info.id, info.unit, info.long_name, "head", info.id);
  for (std::size_t k = 0; k < count; ++k)
    text +=
        fmt::format("{:>8} {:>12.6g}\n", capture::head_name(table.heads[order[k]].layer, table.heads[order[k]].head),
                    table.values[order[k]]);
  return text;
}

std::string per_position_text(const Table& table, const capture::StatisticInfo& info) {
  std::string text = fmt::format("{} ({}): {}\n{:>8} {:>8} {:>12} {:>12} {:>12}\n", info.id, info.unit, info.long_name,
                                 "head", "count", "min", "mean", "max");
  for (std::size_t k = 0; k < table.heads.size(); ++k) {
    double sum = 0, low = INFINITY, high = -INFINITY;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < table.values_per_head; ++i) {
      const double value =
          table.values[k * static_cast<std::size_t>(table.values_per_head) + static_cast<std::size_t>(i)];
      if (!std::isfinite(value)) continue;
      sum += value;
      low = std::min(low, value);
      high = std::max(high, value);
      ++count;
    }
    text += fmt::format("{:>8} {:>8} {:>12.6g} {:>12.6g} {:>12.6g}\n",
                        capture::head_name(table.heads[k].layer, table.heads[k].head), count, low,
                        count ? sum / static_cast<double>(count) : 0.0, high);
  }
  return text + "values of every position: -o FILE.csv or FILE.npy\n";
}

void stats(Invocation& invocation, const StatsOptions& options) {
  check_not_input(options.output, {options.capture.path});
  const auto view = open_capture_input(options.capture);
  const auto& info = find_metric(*view, options.capture.record, options.metric);
  const bool wants_column = options.per == "col", is_column = info.kind == capture::StatisticKind::column;
  if (options.per != "head" && (info.kind == capture::StatisticKind::head || wants_column != is_column))
    throw Error(Errc::invalid_argument, fmt::format("'{}' has no value per {}", info.id, options.per),
                {.file = {}, .field = "--per", .offset = {}, .hint = is_column ? "use --per col" : "use --per head"});
  const Table table = collect(*view, options);
  if (!options.output.empty()) write_output(*view, table, options);
  if (invocation.json) {
    Json result;
    result["metric"] = {{"id", info.id}, {"unit", info.unit}, {"formula", info.formula}, {"source", info.source}};
    result["per"] = options.per;
    result["output"] = options.output;
    if (table.values.size() <= kMaxJsonValues) {
      Json rows = Json::array();
      for (std::size_t k = 0; k < table.heads.size(); ++k) {
        Json values = Json::array();
        for (std::int64_t i = 0; i < table.values_per_head; ++i)
          values.push_back(
              table.values[k * static_cast<std::size_t>(table.values_per_head) + static_cast<std::size_t>(i)]);
        rows.push_back({{"layer", table.heads[k].layer},
                        {"head", table.heads[k].head},
                        {"value", options.per == "head" ? values[0] : values}});
      }
      result["heads"] = rows;
    } else if (options.output.empty()) {
      invocation.warn(fmt::format("{} values are too many for --json: use -o FILE.npy", table.values.size()));
    }
    print_json(invocation, {options.capture.path}, result);
    return;
  }
  if (!options.output.empty()) return;
  print_text(options.per == "head" ? ranked_text(table, options, info) : per_position_text(table, info));
}

}  // namespace

Verb stats_verb() {
  return {.name = "stats",
          .summary = "A recorded statistic per head, row or column",
          .examples = {"headlight stats capture.h5 --metric received0 --top 10",
                       "headlight stats capture.h5 -m entropy --per row --heads 3.7 -o entropy.csv",
                       "headlight stats capture.h5 -m distance --heads 'top(sink,10%) & layer>9'"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<StatsOptions>();
            add_capture_options(app, options->capture);
            app.add_option("-m,--metric", options->metric, "Statistic id, e.g. entropy, sink, received0")
                ->required()
                ->type_name("ID");
            app.add_option("--per", options->per, "One value per")
                ->check(CLI::IsMember({"head", "row", "col"}))
                ->capture_default_str();
            app.add_option("--layers", options->layers, "Model layers, e.g. 0-7,12")->type_name("LIST");
            add_head_options(app, options->heads, "Heads, e.g. 3.7,4.*, L3H7 or 'entropy<1.2 & layer>=10'");
            app.add_option("--top", options->top, "Print the K largest; 0 = all")
                ->check(CLI::Range(0, 1 << 20))
                ->type_name("K")
                ->capture_default_str();
            app.add_option("-o,--out", options->output, "Write .csv or float32 .npy ([L, H] or [L, H, N])")
                ->type_name("FILE");
            app.add_flag("--force", options->force, "Overwrite the output");
            return [=](Invocation& invocation) { stats(invocation, *options); };
          }};
}

}  // namespace headlight::cli
