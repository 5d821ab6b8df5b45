#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "analysis/compare/head_distance.h"
#include "app/cli/compare_plans.h"
#include "app/cli/option_checks.h"
#include "app/cli/progress.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::cli {
namespace {

using analysis::distance_value;
using analysis::HeadDistance;

struct CompareOptions {
  std::string a, b, metric = "tv", output;
  analysis::DistanceOptions distance;
  int top = 20, threads = 0;
  double tolerance = -1.0, depart = 0.05;
  bool allow_incomplete = false, force = false;
};

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

std::string table_of(std::span<const HeadDistance> list) {
  std::string text =
      fmt::format("{:>8} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "head", "tv", "js", "max", "entropy", "received0");
  for (const auto& d : list)
    text += fmt::format("{:>8} {:>10.3g} {:>10.3g} {:>10.3g} {:>+10.3g} {:>+10.3g}\n",
                        capture::head_name(d.layer, d.head), d.tv, d.js, d.max_abs, d.entropy, d.received0);
  return text;
}

void write_csv(const CompareOptions& options, std::span<const HeadDistance> list) {
  OutputFile file(options.output, options.force);
  file.write("layer,head,tv,js,max_abs,entropy,received0\n");
  for (const auto& d : list)
    file.write(fmt::format("{},{},{},{},{},{},{}\n", d.layer, d.head, d.tv, d.js, d.max_abs, d.entropy, d.received0));
  file.commit();
}

std::string departure_text(const std::optional<HeadDistance>& first, const std::string& metric, double threshold) {
  if (!first) return fmt::format("no head departs: every {} is at most {:g}\n", metric, threshold);
  return fmt::format("first to depart ({} above {:g}): {} with {:.3g}\n", metric, threshold,
                     capture::head_name(first->layer, first->head), distance_value(*first, metric));
}

void compare_captures(Invocation& invocation, const CompareOptions& options) {
  check_not_input(options.output, {options.a, options.b});
  const capture::OpenCaptureOptions open{.allow_incomplete = options.allow_incomplete, .check_manifest = false};
  const auto a = capture::open_capture(options.a, open), b = capture::open_capture(options.b, open);
  for (const auto* view : {a.get(), b.get()})
    if (options.distance.record >= view->num_records())
      throw Error(
          Errc::invalid_argument,
          fmt::format("expected a record within 0-{}, found {}", view->num_records() - 1, options.distance.record),
          {.file = view->name(), .field = "--record", .offset = {}, .hint = {}});
  ThreadPool pool(options.threads > 0 ? options.threads : ThreadPool::available_threads());
  ProgressBar progress(invocation);
  auto found = head_distances(*a, *b, options.distance, pool, invocation.stop,
                              [&](std::int64_t done, std::int64_t all) { progress.update("compare", done, all); });
  progress.clear();
  if (!found.maps_missing.empty()) invocation.warn(found.maps_missing);
  auto& list = found.heads;
  const std::string metric = sort_by_distance(list, options.metric);
  const auto first = first_departure(list, metric, options.depart);
  if (!options.output.empty()) write_csv(options, list);
  const auto shown = std::span(list).first(std::min(list.size(), static_cast<std::size_t>(options.top)));
  if (invocation.json) {
    Json heads = Json::array();
    for (const auto& d : shown) heads.push_back(to_json(d));
    print_json(invocation, {options.a, options.b},
               {{"sorted_by", metric},
                {"num_heads", list.size()},
                {"depart", {{"threshold", options.depart}, {"first", first ? to_json(*first) : Json(nullptr)}}},
                {"heads", heads}});
  } else {
    print_text(table_of(shown) + departure_text(first, metric, options.depart));
  }
  const double largest = distance_value(list.front(), metric);
  if (options.tolerance >= 0 && !(largest <= options.tolerance))
    throw Error(Errc::check_failed, fmt::format("largest {} is {:.3g} (L{}H{}), above the tolerance {:g}", metric,
                                                largest, list.front().layer, list.front().head, options.tolerance));
}

void compare(Invocation& invocation, CompareOptions options) {
  if (options.b.empty() != options.distance.base_of_a)
    throw Error(Errc::invalid_argument, "expected two captures or head plans, or one capture and --base",
                {.file = {}, .field = "B", .offset = {}, .hint = "see: headlight compare --help"});
  if (options.distance.base_of_a) options.b = options.a;
  const bool plan_a = options.a.ends_with(".json"), plan_b = options.b.ends_with(".json");
  if (plan_a != plan_b)
    throw Error(Errc::invalid_argument, "expected two captures (.h5) or two head plans (.json)",
                {.file = plan_a ? options.b : options.a, .field = {}, .offset = {}, .hint = {}});
  if (plan_a)
    compare_plans(invocation, options.a, options.b, options.top);
  else
    compare_captures(invocation, options);
}

}  // namespace

Verb compare_verb() {
  return {
      .name = "compare",
      .summary = "Distances per head between two captures, or drift of scores and roles between two head plans",
      .examples = {"headlight compare a.h5 b.h5", "headlight compare a.h5 b.h5 --metric js --top 5 --tolerance 0.01",
                   "headlight compare changed.h5 --base", "headlight compare q8.headplan.json q4.headplan.json"},
      .reads_capture = true,
      .define = [](CLI::App& app) -> Action {
        auto options = std::make_shared<CompareOptions>();
        app.add_option("A", options->a, "First capture, or headplan.json")->required();
        app.add_option("B", options->b, "Second one; differences are B - A");
        app.add_flag("--base", options->distance.base_of_a,
                     "Compare A with itself: its maps without its interventions, and with them");
        app.add_option("--record", options->distance.record, "Record of both")
            ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
            ->type_name("R")
            ->capture_default_str();
        app.add_option("-m,--metric", options->metric, "Sort by")
            ->check(CLI::IsMember({"tv", "js", "max", "entropy", "received0"}))
            ->capture_default_str();
        app.add_option("--max-rows", options->distance.max_rows, "Rows compared per head, evenly spread")
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
        app.add_option("--depart", options->depart, "Name the first layer and head whose distance exceeds X")
            ->check(number_within(0.0, 1e9))
            ->type_name("X")
            ->capture_default_str();
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
