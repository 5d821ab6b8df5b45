#include <algorithm>
#include <cmath>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/model_input.h"
#include "app/cli/progress.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "core/capture/replay.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/engine/reference_attention.h"

namespace headlight::cli {
namespace {

struct VerifyOptions {
  CaptureInputOptions capture;
  ModelOptions model;
  std::string layers, heads, rows;
  double tolerance = 0.0;
  bool probe = false;
};

/// Worst difference seen in one check, with its place.
struct Check {
  std::string name;
  double worst = 0, limit = 0;
  std::string where;
  std::int64_t count = 0;
  bool passed() const { return worst <= 1.0; }

  /// @param difference  absolute; @param allowed  its limit. `worst` is their largest ratio.
  void add(double difference, double allowed, const std::function<std::string()>& place) {
    ++count;
    const double ratio = std::isnan(difference) ? INFINITY : difference / allowed;
    if (ratio <= worst && !where.empty()) return;
    worst = std::max(worst, ratio);
    limit = allowed;
    where = place();
  }
};

std::string head_name(int layer, int head) {
  return fmt::format("L{}H{}", layer, head);
}

struct Selection {
  std::vector<std::pair<int, int>> heads;  ///< (index of recorded layer, head) with replay data
  std::int64_t row_begin = 0, row_end = 0;
};

Selection select(const capture::CaptureView& view, const VerifyOptions& options, const capture::RecordInfo& record) {
  const auto& header = view.header();
  std::vector<int> layers = header.plan.layers;
  if (!options.layers.empty()) {
    layers.clear();
    for (const int layer : parse_index_list("--layers", options.layers, header.model.num_layers)) {
      recorded_index(view, layer);
      layers.push_back(layer);
    }
  }
  const auto chosen = select_heads("--heads", options.heads, layers, header.model.num_layers, header.model.num_heads);
  Selection selection;
  for (std::size_t l = 0; l < layers.size(); ++l)
    for (int h = 0; h < header.model.num_heads; ++h) {
      const int index = recorded_index(view, layers[l]);
      if (chosen[l * static_cast<std::size_t>(header.model.num_heads) + static_cast<std::size_t>(h)] != 0 &&
          view.head_recorded(options.capture.record, index, h))
        selection.heads.emplace_back(index, h);
    }
  std::tie(selection.row_begin, selection.row_end) = parse_slice("--rows", options.rows, record.num_rows);
  selection.row_begin = std::max(selection.row_begin, record.replay_row_begin);
  selection.row_end = std::min(selection.row_end, record.replay_row_end);
  if (selection.heads.empty() || selection.row_begin >= selection.row_end)
    throw Error(Errc::invalid_argument, "nothing to verify: no recorded head or row is selected",
                {.file = view.name(), .field = {}, .offset = {}, .hint = {}});
  return selection;
}

/// Stored statistics against a float64 recomputation from the stored q and k, and the sums of the replayed rows.
std::vector<Check> check_statistics(Invocation& invocation, const capture::CaptureView& view,
                                    const VerifyOptions& options, const capture::RecordInfo& record,
                                    const Selection& selection, ThreadPool& pool, ProgressBar& progress) {
  const auto& header = view.header();
  const bool exact = record.replay_dtype == DType::f32;
  const bool all_rows = selection.row_begin == 0 && selection.row_end == record.num_rows;
  std::map<std::string, Check> checks;
  std::map<int, std::map<std::string, Buffer<float>>> stored;  // per layer
  std::int64_t done = 0;
  for (const auto& [index, head] : selection.heads) {
    if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, "verification stopped");
    progress.update("verify", done++, std::ssize(selection.heads));
    const int layer = header.plan.layers[static_cast<std::size_t>(index)];
    auto& of_layer = stored[index];
    if (of_layer.empty()) {
      stored.erase(stored.begin(), stored.find(index));
      for (const auto& id : view.available_statistics(options.capture.record)) {
        const auto* info = capture::find_statistic(id);
        if (info != nullptr && info->kind != capture::StatisticKind::head && id != "received_mean" &&
            id != "group_mass")
          of_layer.emplace(id, view.statistic(options.capture.record, id, index));
      }
    }
    const auto oracle = capture::recompute_head(view, {options.capture.record, index, head}, selection.row_begin,
                                                selection.row_end, pool, invocation.stop);
    const std::map<std::string, const std::vector<double>*> rows = {
        {"lse", &oracle.lse},   {"entropy", &oracle.entropy}, {"pmax", &oracle.pmax},          {"first", &oracle.first},
        {"sink", &oracle.sink}, {"local", &oracle.local},     {"dist1", &oracle.dist1},        {"dist2", &oracle.dist2},
        {"off0", &oracle.off0}, {"off1", &oracle.off1},       {"null_mass", &oracle.null_mass}};
    for (const auto& [id, values] : rows) {
      const auto found = of_layer.find(id);
      if (found == of_layer.end()) continue;
      Check& check = checks[id];
      check.name = "row " + id;
      for (std::int64_t i = selection.row_begin; i < selection.row_end; ++i) {
        const auto k = static_cast<std::size_t>(i - selection.row_begin);
        const double expected = (*values)[k];
        const double got = found->second[static_cast<std::size_t>(head * record.num_rows + i)];
        if (std::isinf(expected) && expected == got) continue;
        const double growth = 1 + oracle.score_absmax[k] / 64;
        double allowed = (exact ? 1.0 : 2.0) * growth;
        if (id == "lse")
          allowed *= 5e-5;
        else if (id == "entropy")
          allowed *= 1e-4;
        else if (id == "pmax")
          allowed *= 1e-4 * std::max(expected, 1e-3);
        else if (id == "dist1" || id == "dist2")
          allowed *= 1e-4 * std::max(1.0, expected);
        else
          allowed *= 2e-5;
        check.add(std::abs(got - expected), allowed, [&] {
          return fmt::format("{} row {}: stored {:.9g}, recomputed {:.9g}", head_name(layer, head), i, got, expected);
        });
      }
    }
    if (all_rows)
      for (const char* id : {"received", "received_tail"}) {
        const auto found = of_layer.find(id);
        if (found == of_layer.end()) continue;
        const auto& values = std::string_view(id) == "received" ? oracle.received : oracle.received_tail;
        Check& check = checks[id];
        check.name = std::string("column ") + id;
        for (std::int64_t j = 0; j < record.num_rows; ++j) {
          const double expected = values[static_cast<std::size_t>(j)],
                       got = found->second[static_cast<std::size_t>(head * record.num_rows + j)];
          check.add(std::abs(got - expected), std::max(2e-4 * expected, 1e-5 * static_cast<double>(record.num_rows)),
                    [&] {
                      return fmt::format("{} key {}: stored {:.9g}, recomputed {:.9g}", head_name(layer, head), j, got,
                                         expected);
                    });
        }
      }
    // Rows of the replayed map sum to 1 - null_mass: at most 64 rows of a head.
    Check& sums = checks["~row sums"];
    sums.name = "replayed row sums";
    const std::int64_t step = std::max<std::int64_t>(1, (selection.row_end - selection.row_begin) / 64);
    std::vector<float> row(static_cast<std::size_t>(record.num_rows));
    for (std::int64_t i = selection.row_begin; i < selection.row_end; i += step) {
      const auto k = static_cast<std::size_t>(i - selection.row_begin);
      capture::replay_tile(view, {options.capture.record, index, head}, {i, i + 1, 0, record.num_rows}, pool, row);
      double sum = 0;
      for (const float a : row) sum += a;
      const double expected = std::isinf(oracle.lse[k]) ? 0.0 : 1.0 - oracle.null_mass[k];
      sums.add(std::abs(sum - expected),
               exact ? 1e-4 * (1 + oracle.score_absmax[k] / 64) : 1e-3 * (1 + oracle.score_absmax[k] / 64), [&] {
                 return fmt::format("{} row {}: sum {:.9g}, expected {:.9g}", head_name(layer, head), i, sum, expected);
               });
    }
  }
  std::vector<Check> list;
  for (auto& [id, check] : checks) list.push_back(check);
  return list;
}

/// Maps replayed from the file against a forward pass with float64 attention.
Check check_against_model(Invocation& invocation, const capture::CaptureView& view, const VerifyOptions& options,
                          const capture::RecordInfo& record, const Selection& selection, ProgressBar& progress) {
  const auto engine = load_engine(invocation, options.model);
  const auto& expected_sha = view.header().model.file_sha256;
  if (!expected_sha.empty() && formats::file_hashes(engine->model()) != expected_sha)
    throw Error(Errc::check_failed, "is not the model that the capture was made with (SHA-256 differs)",
                {.file = options.model.model, .field = {}, .offset = {}, .hint = {}});
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < record.num_rows; ++i)
    ids.push_back(record.header.tokens[static_cast<std::size_t>(i)].id);
  std::map<std::pair<int, int>, int> wanted;  // (model layer, head) -> recorded index
  for (const auto& [index, head] : selection.heads)
    wanted[{view.header().plan.layers[static_cast<std::size_t>(index)], head}] = index;

  Check check{.name = "maps against float64 forward", .worst = 0, .limit = 0, .where = {}, .count = 0};
  std::vector<float> tile;
  std::int64_t tile_begin = -1, tile_end = -1;
  std::pair<int, int> tile_head{-1, -1};
  // Replay works on blocks of rows: reading K once per row would dominate.
  constexpr std::int64_t kRows = 256;
  engine::reference_forward(
      *engine, ids,
      [&](int layer, int head, std::int64_t query, std::span<const double> attn_j) {
        const auto it = wanted.find({layer, head});
        if (it == wanted.end() || query < selection.row_begin || query >= selection.row_end) return;
        if (tile_head != std::pair(layer, head) || query < tile_begin || query >= tile_end) {
          tile_head = {layer, head};
          tile_begin = query;
          tile_end = std::min(query + kRows, selection.row_end);
          tile.resize(static_cast<std::size_t>((tile_end - tile_begin) * record.num_rows));
          capture::replay_tile(view, {options.capture.record, it->second, head},
                               {tile_begin, tile_end, 0, record.num_rows}, engine->pool(), tile);
        }
        const float* row = tile.data() + (query - tile_begin) * record.num_rows;
        for (std::size_t j = 0; j < attn_j.size(); ++j)
          check.add(std::abs(row[j] - attn_j[j]), options.tolerance, [&] {
            return fmt::format("{} row {} key {}: replayed {:.9g}, float64 forward {:.9g}", head_name(layer, head),
                               query, j, row[j], attn_j[j]);
          });
      },
      [&](const engine::Progress& p) { progress.update(p.phase, p.done, p.total, p.tokens_done); }, invocation.stop);
  return check;
}

Json to_json(const Check& check) {
  return {{"name", check.name},    {"passed", check.passed()},
          {"values", check.count}, {"worst_over_limit", check.worst},
          {"limit", check.limit},  {"where", check.where}};
}

void verify(Invocation& invocation, const VerifyOptions& options) {
  const auto view = open_capture_input(options.capture);
  const auto record = view->record(options.capture.record);
  if (options.probe) return;
  const auto manifest = capture::verify_manifest(options.capture.path);
  std::vector<Check> checks;
  Check stored{.name = "stored bytes", .worst = 0, .limit = 0, .where = "", .count = manifest.num_datasets};
  for (const auto& name : manifest.mismatches) stored.add(INFINITY, 1, [&] { return "checksum differs: " + name; });
  checks.push_back(stored);
  if (record.has_replay) {
    ThreadPool pool(options.model.threads > 0 ? options.model.threads : ThreadPool::available_threads());
    ProgressBar progress(invocation);
    const Selection selection = select(*view, options, record);
    const auto statistics = check_statistics(invocation, *view, options, record, selection, pool, progress);
    checks.insert(checks.end(), statistics.begin(), statistics.end());
    if (!options.model.model.empty())
      checks.push_back(check_against_model(invocation, *view, options, record, selection, progress));
  } else {
    if (!options.model.model.empty())
      throw Error(
          Errc::invalid_argument, "holds no q, k to replay (level summary)",
          {.file = options.capture.path, .field = "--model", .offset = {}, .hint = "capture with --level replay"});
    invocation.warn("level summary: only structure and checksums are verified");
  }
  const bool passed = std::all_of(checks.begin(), checks.end(), [](const Check& c) { return c.passed(); });
  if (invocation.json) {
    Json list = Json::array();
    for (const auto& check : checks) list.push_back(to_json(check));
    print_json(invocation, {options.capture.path}, {{"passed", passed}, {"checks", list}});
  } else {
    std::string text;
    for (const auto& check : checks)
      text += fmt::format("{}  {:<30} {:>12} values  worst {:.3f} of the limit{}\n", check.passed() ? "ok  " : "FAIL",
                          check.name, check.count, check.worst,
                          check.where.empty() || check.worst == 0 ? "" : "  (" + check.where + ")");
    print_text(text);
  }
  if (!passed)
    throw Error(Errc::check_failed, "verification failed",
                {.file = options.capture.path, .field = {}, .offset = {}, .hint = {}});
}

}  // namespace

Verb verify_verb() {
  return {.name = "verify",
          .summary = "Check a capture: structure, checksums, statistics in float64, and the model",
          .examples = {"headlight verify capture.h5", "headlight verify capture.h5 --model smollm2-135m --layers 0,14"},
          .reads_capture = true,
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<VerifyOptions>();
            add_capture_options(app, options->capture);
            app.add_option("--model", options->model.model, "Rerun with float64 attention and compare the maps")
                ->type_name("MODEL");
            app.add_option("--threads", options->model.threads, "CPU threads; 0 = all")
                ->check(CLI::Range(0, 1024))
                ->type_name("N");
            app.add_option("--layers", options->layers, "Model layers to check")->type_name("LIST");
            app.add_option("--heads", options->heads, "Heads to check")->type_name("HEADS");
            app.add_option("--rows", options->rows, "Query rows to check, a:b")->type_name("a:b");
            options->tolerance = 1e-4;
            app.add_option("--tolerance", options->tolerance, "Largest difference of a map entry from the model's")
                ->check(CLI::Range(1e-12, 1.0))
                ->type_name("X")
                ->capture_default_str();
            app.add_flag("--probe", options->probe, "Only open and walk the file");
            return [=](Invocation& invocation) { verify(invocation, *options); };
          }};
}

}  // namespace headlight::cli
