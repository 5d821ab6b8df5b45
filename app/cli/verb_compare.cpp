#include <algorithm>
#include <cmath>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/option_checks.h"
#include "app/cli/progress.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture/replay.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::cli {
namespace {

struct CompareOptions {
  std::string a, b, metric = "tv", output;
  std::int64_t record = 0, max_rows = 256;
  int top = 20, threads = 0;
  double tolerance = -1.0;
  bool allow_incomplete = false, force = false;
};

/// Distances between the maps of one head in two captures, over the compared rows.
struct HeadDistance {
  int layer = 0, head = 0;
  double tv = NAN;       ///< mean over rows of 1/2 sum_j |A - B|, in [0, 1]
  double js = NAN;       ///< mean Jensen-Shannon divergence, nats, in [0, ln 2]
  double max_abs = NAN;  ///< largest |A - B|
  double entropy = 0;    ///< difference of mean entropy, nats (B - A)
  double received0 = 0;  ///< difference of received0 (B - A)
};

double value_of(const HeadDistance& d, const std::string& metric) {
  if (metric == "tv") return d.tv;
  if (metric == "js") return d.js;
  if (metric == "max") return d.max_abs;
  if (metric == "entropy") return std::abs(d.entropy);
  return std::abs(d.received0);
}

void compare_rows(std::span<const float> a, std::span<const float> b, std::int64_t num_keys, HeadDistance& out) {
  double tv = 0, js = 0, worst = 0;
  const std::int64_t rows = std::ssize(a) / num_keys;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double p = a[k], q = b[k], m = 0.5 * (p + q);
    tv += 0.5 * std::abs(p - q);
    if (p > 0) js += 0.5 * p * std::log(p / m);
    if (q > 0) js += 0.5 * q * std::log(q / m);
    worst = std::max(worst, std::abs(p - q));
  }
  out.tv += tv / static_cast<double>(rows);
  out.js += js / static_cast<double>(rows);
  out.max_abs = std::max(out.max_abs, worst);
}

/// Query rows that both captures can replay, and the keys.
struct Extent {
  std::int64_t row_begin = 0, row_end = 0, num_keys = 0;
  std::int64_t num_rows() const { return row_end - row_begin; }
};

/// Rows are compared in blocks of consecutive rows spread evenly, so that two long captures cost O(max_rows * N).
HeadDistance compare_head(const capture::CaptureView& a, const capture::CaptureView& b, capture::HeadRef ref_a,
                          capture::HeadRef ref_b, const Extent& extent, const CompareOptions& options,
                          ThreadPool& pool) {
  HeadDistance distance;
  distance.tv = distance.js = distance.max_abs = 0;
  constexpr std::int64_t kBlock = 16;
  const std::int64_t num_keys = extent.num_keys;
  const std::int64_t blocks =
      std::max<std::int64_t>(1, std::min((extent.num_rows() + kBlock - 1) / kBlock, options.max_rows / kBlock));
  Buffer<float> rows_a(static_cast<std::size_t>(kBlock * num_keys)),
      rows_b(static_cast<std::size_t>(kBlock * num_keys));
  double weight = 0;
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin =
        extent.row_begin + (blocks == 1 ? 0 : block * (extent.num_rows() - kBlock) / (blocks - 1));
    const std::int64_t end = std::min(begin + kBlock, extent.row_end);
    const auto size = static_cast<std::size_t>((end - begin) * num_keys);
    const capture::TileRange tile{begin, end, 0, num_keys};
    capture::replay_tile(a, ref_a, tile, pool, std::span(rows_a.data(), size));
    capture::replay_tile(b, ref_b, tile, pool, std::span(rows_b.data(), size));
    compare_rows(std::span<const float>(rows_a.data(), size), std::span<const float>(rows_b.data(), size), num_keys,
                 distance);
    weight += 1;
  }
  distance.tv /= weight;
  distance.js /= weight;
  return distance;
}

Json to_json(const HeadDistance& d) {
  const auto number = [](double v) { return std::isnan(v) ? Json(nullptr) : Json(v); };
  return {{"layer", d.layer},
          {"head", d.head},
          {"tv", number(d.tv)},
          {"js", number(d.js)},
          {"max_abs", number(d.max_abs)},
          {"entropy", d.entropy},
          {"received0", d.received0}};
}

void check_comparable(const capture::CaptureView& a, const capture::CaptureView& b) {
  const auto& ma = a.header().model;
  const auto& mb = b.header().model;
  if (ma.num_layers != mb.num_layers || ma.num_heads != mb.num_heads)
    throw Error(Errc::invalid_argument,
                fmt::format("the captures have different shapes: {} layers x {} heads and {} x {}", ma.num_layers,
                            ma.num_heads, mb.num_layers, mb.num_heads),
                {.file = b.name(), .field = {}, .offset = {}, .hint = {}});
}

std::vector<HeadDistance> distances(Invocation& invocation, const capture::CaptureView& a,
                                    const capture::CaptureView& b, const CompareOptions& options) {
  const auto record_a = a.record(options.record), record_b = b.record(options.record);
  const std::int64_t num_rows = std::min(record_a.num_rows, record_b.num_rows);
  bool same_tokens = record_a.num_rows == record_b.num_rows;
  for (std::int64_t i = 0; same_tokens && i < num_rows; ++i)
    same_tokens = record_a.header.tokens[static_cast<std::size_t>(i)].id ==
                  record_b.header.tokens[static_cast<std::size_t>(i)].id;
  const Extent extent{std::max(record_a.replay_row_begin, record_b.replay_row_begin),
                      std::min(record_a.replay_row_end, record_b.replay_row_end), num_rows};
  const bool has_replay = record_a.has_replay && record_b.has_replay;
  const bool maps = same_tokens && has_replay && extent.num_rows() > 0;
  if (!same_tokens)
    invocation.warn("the tokens differ: only statistics are compared, not maps");
  else if (has_replay && !maps)
    invocation.warn("no query row is kept in both captures: only statistics are compared, not maps");
  else if (!maps)
    invocation.warn("a capture without q, k (level summary): only statistics are compared, not maps");
  const auto entropy_a = a.head_statistic(options.record, "entropy"),
             entropy_b = b.head_statistic(options.record, "entropy");
  const auto received_a = a.head_statistic(options.record, "received0"),
             received_b = b.head_statistic(options.record, "received0");
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::available_threads());
  ProgressBar progress(invocation);
  std::vector<HeadDistance> list;
  const auto& layers = a.header().plan.layers;
  const int num_heads = a.header().model.num_heads;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto& other = b.header().plan.layers;
    const auto it = std::find(other.begin(), other.end(), layers[l]);
    if (it == other.end()) continue;
    const auto index_a = static_cast<int>(l), index_b = static_cast<int>(it - other.begin());
    for (int h = 0; h < num_heads; ++h) {
      if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, "comparison stopped");
      HeadDistance d;
      const bool recorded =
          maps && a.head_recorded(options.record, index_a, h) && b.head_recorded(options.record, index_b, h);
      if (recorded)
        d = compare_head(a, b, {options.record, index_a, h}, {options.record, index_b, h}, extent, options, pool);
      d.layer = layers[l];
      d.head = h;
      const auto at = [&](const Buffer<float>& values, int index) {
        return static_cast<double>(values[static_cast<std::size_t>(index * num_heads + h)]);
      };
      d.entropy = at(entropy_b, index_b) - at(entropy_a, index_a);
      d.received0 = at(received_b, index_b) - at(received_a, index_a);
      list.push_back(d);
    }
    progress.update("compare", static_cast<std::int64_t>(l) + 1, std::ssize(layers));
  }
  return list;
}

void compare(Invocation& invocation, const CompareOptions& options) {
  check_not_input(options.output, {options.a, options.b});
  const capture::OpenCaptureOptions open{.allow_incomplete = options.allow_incomplete, .check_manifest = false};
  const auto a = capture::open_capture(options.a, open), b = capture::open_capture(options.b, open);
  check_comparable(*a, *b);
  for (const auto* view : {a.get(), b.get()})
    if (options.record >= view->num_records())
      throw Error(Errc::invalid_argument,
                  fmt::format("expected a record within 0-{}, found {}", view->num_records() - 1, options.record),
                  {.file = view->name(), .field = "--record", .offset = {}, .hint = {}});
  auto list = distances(invocation, *a, *b, options);
  std::string metric = options.metric;
  if (list.empty())
    throw Error(Errc::invalid_argument, "the captures share no recorded layer",
                {.file = options.b, .field = {}, .offset = {}, .hint = {}});
  const auto rank = [&](const HeadDistance& d) {  // heads whose maps are not kept come last
    const double value = value_of(d, metric);
    return std::isnan(value) ? -INFINITY : value;
  };
  if (std::all_of(list.begin(), list.end(), [&](const HeadDistance& d) { return std::isinf(rank(d)); }))
    metric = "entropy";
  std::stable_sort(list.begin(), list.end(),
                   [&](const HeadDistance& x, const HeadDistance& y) { return rank(x) > rank(y); });
  if (!options.output.empty()) {
    OutputFile file(options.output, options.force);
    file.write("layer,head,tv,js,max_abs,entropy,received0\n");
    for (const auto& d : list)
      file.write(fmt::format("{},{},{},{},{},{},{}\n", d.layer, d.head, d.tv, d.js, d.max_abs, d.entropy, d.received0));
    file.commit();
  }
  const auto shown = std::min<std::size_t>(list.size(), static_cast<std::size_t>(options.top));
  if (invocation.json) {
    Json heads = Json::array();
    for (std::size_t k = 0; k < shown; ++k) heads.push_back(to_json(list[k]));
    print_json(invocation, {options.a, options.b},
               {{"sorted_by", metric}, {"num_heads", list.size()}, {"heads", heads}});
  } else {
    std::string text =
        fmt::format("{:>8} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "head", "tv", "js", "max", "entropy", "received0");
    for (std::size_t k = 0; k < shown; ++k)
      text += fmt::format("{:>8} {:>10.3g} {:>10.3g} {:>10.3g} {:>+10.3g} {:>+10.3g}\n",
                          capture::head_name(list[k].layer, list[k].head), list[k].tv, list[k].js, list[k].max_abs,
                          list[k].entropy, list[k].received0);
    print_text(text);
  }
  const double largest = value_of(list.front(), metric);
  if (options.tolerance >= 0 && !(largest <= options.tolerance))
    throw Error(Errc::check_failed, fmt::format("largest {} is {:.3g} (L{}H{}), above the tolerance {:g}", metric,
                                                largest, list.front().layer, list.front().head, options.tolerance));
}

}  // namespace

Verb compare_verb() {
  return {
      .name = "compare",
      .summary = "Distances per head between two captures",
      .examples = {"headlight compare a.h5 b.h5", "headlight compare a.h5 b.h5 --metric js --top 5 --tolerance 0.01"},
      .reads_capture = true,
      .define = [](CLI::App& app) -> Action {
        auto options = std::make_shared<CompareOptions>();
        app.add_option("A", options->a, "First capture")->required();
        app.add_option("B", options->b, "Second capture; differences are B - A")->required();
        app.add_option("--record", options->record, "Record of both")
            ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
            ->type_name("R")
            ->capture_default_str();
        app.add_option("-m,--metric", options->metric, "Sort by")
            ->check(CLI::IsMember({"tv", "js", "max", "entropy", "received0"}))
            ->capture_default_str();
        app.add_option("--max-rows", options->max_rows, "Rows compared per head, evenly spread")
            ->check(CLI::Range(std::int64_t{16}, std::int64_t{1} << 22))
            ->type_name("N")
            ->capture_default_str();
        app.add_option("--top", options->top, "Heads to print")
            ->check(CLI::Range(1, 1000))
            ->type_name("K")
            ->capture_default_str();
        app.add_option("--tolerance", options->tolerance, "Exit 7 when the largest distance exceeds X")
            ->check(number_within(0.0, 1e9))
            ->type_name("X");
        app.add_option("-o,--out", options->output, "Write all heads as .csv")->type_name("FILE");
        app.add_option("--threads", options->threads, "CPU threads; 0 = all")
            ->check(CLI::Range(0, 1024))
            ->type_name("N")
            ->capture_default_str();
        app.add_flag("--allow-incomplete", options->allow_incomplete, "Accept interrupted captures");
        app.add_flag("--force", options->force, "Overwrite the output");
        return [=](Invocation& invocation) { compare(invocation, *options); };
      }};
}

}  // namespace headlight::cli
