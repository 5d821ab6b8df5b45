#include <algorithm>
#include <cmath>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/capture_input.h"
#include "app/cli/model_input.h"
#include "app/cli/option_checks.h"
#include "app/cli/progress.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "core/capture/replay.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/guard.h"
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
  template <class Place>
  void add(double difference, double allowed, const Place& place) {
    ++count;
    const double ratio = std::isnan(difference) ? INFINITY : difference / allowed;
    if (ratio <= worst && !where.empty()) return;
    worst = std::max(worst, ratio);
    limit = allowed;
    where = place();
  }
};

/// A weight is exp(score - lse): rounding a score of this size moves it by as much.
constexpr double kScoreRounding = 1.0 / (1 << 21);

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

/// How far a stored row statistic may be from its float64 value x: max(absolute, relative * x), times a factor that
/// grows with the row's scores (their rounding is multiplied by the exponential).
struct RowLimit {
  const char* id;
  std::vector<double> capture::HeadOracle::*values;
  double absolute, relative;
};
constexpr RowLimit kRowLimits[] = {
    {"lse", &capture::HeadOracle::lse, 5e-5, 0},
    {"entropy", &capture::HeadOracle::entropy, 1e-4, 0},
    {"pmax", &capture::HeadOracle::pmax, 1e-7, 1e-4},
    {"first", &capture::HeadOracle::first, 2e-5, 0},
    {"sink", &capture::HeadOracle::sink, 2e-5, 0},
    {"local", &capture::HeadOracle::local, 2e-5, 0},
    {"dist1", &capture::HeadOracle::dist1, 1e-4, 1e-4},
    {"dist2", &capture::HeadOracle::dist2, 1e-4, 1e-4},
    {"off0", &capture::HeadOracle::off0, 2e-5, 0},
    {"off1", &capture::HeadOracle::off1, 2e-5, 0},
    {"null_mass", &capture::HeadOracle::null_mass, 2e-5, 0},
};

/// Checks the heads of a record one after another against a float64 recomputation from the stored q and k.
class StatisticsCheck {
 public:
  StatisticsCheck(const capture::CaptureView& view, std::int64_t record, const Selection& selection, ThreadPool& pool)
      : view_(view), record_(record), info_(view.record(record)), selection_(selection), pool_(pool) {}

  void add_head(int index, int head, std::stop_token stop) {
    load_layer(index);
    name_ = head_name(view_.header().plan.layers[static_cast<std::size_t>(index)], head);
    const auto oracle =
        capture::recompute_head(view_, {record_, index, head}, selection_.row_begin, selection_.row_end, pool_, stop);
    check_rows(oracle, head);
    if (selection_.row_begin == 0 && selection_.row_end == info_.num_rows) {
      check_column("received", oracle.received, head);
      check_column("received_tail", oracle.received_tail, head);
    }
    check_sums(oracle, index, head);
  }

  std::vector<Check> results() const {
    std::vector<Check> list;
    for (const auto& [id, check] : checks_) list.push_back(check);
    return list;
  }

 private:
  double growth(const capture::HeadOracle& oracle, std::size_t row) const { return 1 + oracle.score_absmax[row] / 64; }

  bool exact() const { return info_.replay_dtype == DType::f32; }

  /// Statistics of one layer at a time are in memory.
  void load_layer(int index) {
    if (index == layer_index_) return;
    layer_index_ = index;
    stored_.clear();
    for (const auto& id : view_.available_statistics(record_)) {
      const auto* info = capture::find_statistic(id);
      if (info != nullptr && info->kind != capture::StatisticKind::head && id != "received_mean" && id != "group_mass")
        stored_.emplace(id, view_.statistic(record_, id, index));
    }
  }

  void check_rows(const capture::HeadOracle& oracle, int head) {
    for (const RowLimit& limit : kRowLimits) {
      const auto found = stored_.find(limit.id);
      if (found == stored_.end()) continue;
      Check& check = checks_[limit.id];
      check.name = std::string("row ") + limit.id;
      for (std::int64_t i = selection_.row_begin; i < selection_.row_end; ++i) {
        const auto k = static_cast<std::size_t>(i - selection_.row_begin);
        const double expected = (oracle.*limit.values)[k];
        const double got = found->second[static_cast<std::size_t>(head * info_.num_rows + i)];
        if (std::isinf(expected) && expected == got) continue;
        const double allowed =
            (exact() ? 1.0 : 2.0) * growth(oracle, k) * std::max(limit.absolute, limit.relative * expected);
        check.add(std::abs(got - expected), allowed,
                  [&] { return fmt::format("{} row {}: stored {:.9g}, recomputed {:.9g}", name_, i, got, expected); });
      }
    }
  }

  void check_column(const char* id, const std::vector<double>& values, int head) {
    const auto found = stored_.find(id);
    if (found == stored_.end()) return;
    Check& check = checks_[id];
    check.name = std::string("column ") + id;
    for (std::int64_t j = 0; j < info_.num_rows; ++j) {
      const double expected = values[static_cast<std::size_t>(j)];
      const double got = found->second[static_cast<std::size_t>(head * info_.num_rows + j)];
      const double allowed = std::max(2e-4 * expected, 1e-5 * static_cast<double>(info_.num_rows));
      check.add(std::abs(got - expected), allowed,
                [&] { return fmt::format("{} key {}: stored {:.9g}, recomputed {:.9g}", name_, j, got, expected); });
    }
  }

  /// Rows of the replayed map sum to 1 - null_mass: at most 64 rows of a head.
  void check_sums(const capture::HeadOracle& oracle, int index, int head) {
    Check& check = checks_["~row sums"];  // '~': printed after the named statistics
    check.name = "replayed row sums";
    const std::int64_t step = std::max<std::int64_t>(1, (selection_.row_end - selection_.row_begin) / 64);
    std::vector<float> row(static_cast<std::size_t>(info_.num_rows));
    for (std::int64_t i = selection_.row_begin; i < selection_.row_end; i += step) {
      const auto k = static_cast<std::size_t>(i - selection_.row_begin);
      capture::replay_tile(view_, {record_, index, head}, {i, i + 1, 0, info_.num_rows}, pool_, row);
      double sum = 0;
      for (const float a : row) sum += static_cast<double>(a);
      const double expected = std::isinf(oracle.lse[k]) ? 0.0 : 1.0 - oracle.null_mass[k];
      check.add(std::abs(sum - expected), (exact() ? 1e-4 : 1e-3) * growth(oracle, k),
                [&] { return fmt::format("{} row {}: sum {:.9g}, expected {:.9g}", name_, i, sum, expected); });
    }
  }

  const capture::CaptureView& view_;
  std::int64_t record_;
  capture::RecordInfo info_;
  const Selection& selection_;
  ThreadPool& pool_;
  int layer_index_ = -1;
  std::string name_;  ///< of the current head
  std::map<std::string, Buffer<float>> stored_;
  std::map<std::string, Check> checks_;
};

/// Stored statistics against float64, and the sums of replayed rows.
std::vector<Check> check_statistics(Invocation& invocation, const capture::CaptureView& view,
                                    const VerifyOptions& options, const Selection& selection, ThreadPool& pool,
                                    ProgressBar& progress) {
  StatisticsCheck check(view, options.capture.record, selection, pool);
  std::int64_t done = 0;
  for (const auto& [index, head] : selection.heads) {
    if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, "verification stopped");
    progress.update("verify", done++, std::ssize(selection.heads));
    check.add_head(index, head, invocation.stop);
  }
  return check.results();
}

/// The model of the capture, set to compute as the capture was.
/// @error check_failed  another model
std::unique_ptr<engine::Engine> load_same_model(const capture::CaptureView& view, const VerifyOptions& options) {
  ModelOptions model = options.model;
  model.kv_dtype = view.header().provenance.kv_dtype;
  model.act_quant = view.header().provenance.activation_quant;
  auto engine = load_engine(model);
  const auto& expected_sha = view.header().model.file_sha256;
  if (!expected_sha.empty() && formats::file_hashes(engine->model()) != expected_sha)
    throw Error(Errc::check_failed, "is not the model that the capture was made with (SHA-256 differs)",
                {.file = options.model.model, .field = {}, .offset = {}, .hint = {}});
  return engine;
}

/// Maps replayed from the file against a forward pass with float64 attention.
Check check_against_model(Invocation& invocation, const capture::CaptureView& view, engine::Engine& engine,
                          const VerifyOptions& options, const capture::RecordInfo& record, const Selection& selection,
                          ProgressBar& progress) {
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
  const auto compare_row = [&](const engine::ReferenceRow& row) {
    const auto it = wanted.find({row.layer, row.head});
    if (it == wanted.end() || row.query < selection.row_begin || row.query >= selection.row_end) return;
    if (tile_head != it->first || row.query < tile_begin || row.query >= tile_end) {
      tile_head = it->first;
      tile_begin = row.query;
      tile_end = std::min(row.query + kRows, selection.row_end);
      tile.resize(static_cast<std::size_t>((tile_end - tile_begin) * record.num_rows));
      capture::replay_tile(view, {options.capture.record, it->second, row.head},
                           {tile_begin, tile_end, 0, record.num_rows}, engine.pool(), tile);
    }
    const double limit = options.tolerance + kScoreRounding * row.score_absmax;
    const float* replayed_j = tile.data() + (row.query - tile_begin) * record.num_rows;
    for (std::size_t j = 0; j < row.attn_j.size(); ++j)
      check.add(std::abs(replayed_j[j] - row.attn_j[j]), limit, [&] {
        return fmt::format("{} row {} key {}: replayed {:.9g}, float64 forward {:.9g}", head_name(row.layer, row.head),
                           row.query, j, replayed_j[j], row.attn_j[j]);
      });
  };
  engine::reference_forward(
      engine, ids, {.last_layer = wanted.rbegin()->first.first, .operand_dtype = view.header().plan.replay_dtype},
      compare_row, [&](const engine::Progress& p) { progress.update(p.phase, p.done, p.total, p.tokens_done); },
      invocation.stop);
  return check;
}

Json to_json(const Check& check) {
  return {{"name", check.name},    {"passed", check.passed()},
          {"values", check.count}, {"worst_over_limit", check.worst},
          {"limit", check.limit},  {"where", check.where}};
}

/// @throws check_failed when a check did not pass, after printing all of them
void report_checks(Invocation& invocation, const VerifyOptions& options, const std::vector<Check>& checks) {
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

void probe(Invocation& invocation, const VerifyOptions& options) {
  capture::probe_capture(options.capture.path);
  if (invocation.json)
    print_json(invocation, {options.capture.path}, {{"passed", true}, {"checks", Json::array()}});
  else
    print_text(fmt::format("{}: can be opened and read\n", options.capture.path));
}

void verify(Invocation& invocation, const VerifyOptions& options) {
  if (options.probe) return probe(invocation, options);
  const auto view = open_capture_input(options.capture);
  const auto record = view->record(options.capture.record);
  if (!record.has_replay && !options.model.model.empty())
    throw Error(
        Errc::invalid_argument, "holds no q, k to replay (level summary)",
        {.file = options.capture.path, .field = "--model", .offset = {}, .hint = "capture with --level replay"});
  // Opened first: a wrong model should not be found out after minutes of checks.
  const auto engine = options.model.model.empty() ? nullptr : load_same_model(*view, options);
  const auto manifest = capture::verify_manifest(options.capture.path);
  Check stored{.name = "stored bytes", .worst = 0, .limit = 0, .where = "", .count = manifest.num_datasets};
  for (const auto& name : manifest.mismatches) stored.add(INFINITY, 1, [&] { return "checksum differs: " + name; });
  std::vector<Check> checks = {stored};
  if (record.has_replay) {
    ThreadPool pool(options.model.threads > 0 ? options.model.threads : ThreadPool::available_threads());
    ProgressBar progress(invocation);
    const Selection selection = select(*view, options, record);
    const auto statistics = check_statistics(invocation, *view, options, selection, pool, progress);
    checks.insert(checks.end(), statistics.begin(), statistics.end());
    if (engine) checks.push_back(check_against_model(invocation, *view, *engine, options, record, selection, progress));
  } else {
    invocation.warn("level summary: only structure and checksums are verified");
  }
  report_checks(invocation, options, checks);
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
            app.add_option("--rows", options->rows, "Query rows to check, a:b")->type_name("RANGE");
            options->tolerance = 1e-5;
            app.add_option("--tolerance", options->tolerance,
                           "Largest difference of a map entry from the model's, plus max|s| 2^-21")
                ->check(number_within(1e-12, 1.0))
                ->type_name("X")
                ->capture_default_str();
            app.add_flag("--probe", options->probe, "Only open and walk the file");
            return [=](Invocation& invocation) { verify(invocation, *options); };
          }};
}

}  // namespace headlight::cli
