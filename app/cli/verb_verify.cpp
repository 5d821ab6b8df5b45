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
#include "core/capture/statistics_check.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/guard.h"
#include "core/engine/reference_attention.h"
#include "core/intervention/intervention_file.h"

namespace headlight::cli {
namespace {

struct VerifyOptions {
  CaptureInputOptions capture;
  ModelOptions model;
  HeadOptions heads;
  std::string layers, rows;
  double tolerance = 0.0;  ///< 0 = by the precision of the capture
  bool probe = false;
};

using capture::Check;

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
  const auto chosen = select_heads(options.heads, capture_head_facts(view, options.heads.headplan), layers);
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

/// What is stored against float64.
std::vector<Check> check_statistics(Invocation& invocation, const capture::CaptureView& view,
                                    const VerifyOptions& options, const Selection& selection, ThreadPool& pool,
                                    ProgressBar& progress) {
  capture::StatisticsCheck check(view, options.capture.record, selection.row_begin, selection.row_end, pool);
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
  const capture::Provenance& made = view.header().provenance;
  model.device = "cpu";  // the reference pass is; what a GPU computed is compared with more room
  model.kv_dtype = made.kv_dtype == "f16" ? "f32" : made.kv_dtype;
  model.act_quant = made.activation_quant;
  model.gemma_embed_scale = made.embedding_scale;
  model.sliding_window = made.sliding_window;
  auto engine = load_engine(model);
  const auto& expected_sha = view.header().model.file_sha256;
  if (!expected_sha.empty() && formats::file_hashes(engine->model()) != expected_sha)
    throw Error(Errc::check_failed, "is not the model that the capture was made with (SHA-256 differs)",
                {.file = options.model.model, .field = {}, .offset = {}, .hint = {}});
  return engine;
}

/// Whether values were rounded on the way to later layers. Then a difference of 1e-7 in one layer can fall to the other
/// side of a rounding step, and no two orders of summation agree closely in the layers behind.
bool rounds_between_layers(const capture::CaptureHeader& header) {
  return header.plan.replay_dtype != DType::f32 || header.provenance.kv_dtype != "f32" ||
         header.provenance.compute_dtype != "f32" || header.provenance.activation_quant != "none";
}

double tolerance_for(const capture::CaptureHeader& header, const VerifyOptions& options) {
  if (options.tolerance > 0) return options.tolerance;
  return rounds_between_layers(header) ? 0.1 : 1e-5;
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

  Check check{.name = "maps against float64 attention", .worst = 0, .limit = 0, .where = {}, .count = 0};
  std::vector<float> tile;
  std::int64_t tile_begin = -1, tile_end = -1;
  std::pair<int, int> tile_head{-1, -1};
  // Replay works on blocks of rows: reading K once per row would dominate.
  constexpr std::int64_t kRows = 256;
  const double tolerance = tolerance_for(view.header(), options);
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
    const double limit = tolerance + capture::kScoreRounding * row.score_absmax;
    const float* replayed_j = tile.data() + (row.query - tile_begin) * record.num_rows;
    for (std::size_t j = 0; j < row.attn_j.size(); ++j)
      check.add(std::abs(replayed_j[j] - row.attn_j[j]), limit, [&] {
        return fmt::format("{} row {} key {}: replayed {:.9g}, float64 {:.9g}", capture::head_name(row.layer, row.head),
                           row.query, j, replayed_j[j], row.attn_j[j]);
      });
  };
  intervention::InterventionFile changes;
  if (!record.header.interventions.empty())
    changes =
        intervention::intervention_file_from_json(parse_json(record.header.interventions, {.max_bytes = 256u << 20}));
  engine::reference_forward(
      engine, ids,
      {.last_layer = wanted.rbegin()->first.first,
       .operand_dtype = view.header().plan.replay_dtype,
       .interventions = changes.interventions,
       .num_prompt_tokens = record.header.num_prompt_tokens},
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
            add_head_options(app, options->heads, "Heads to check");
            app.add_option("--rows", options->rows, "Query rows to check, a:b")->type_name("RANGE");
            app.add_option(
                   "--tolerance", options->tolerance,
                   "Largest difference of a map entry from the model's, plus max|s| 2^-21; default 1e-5, or 0.1 "
                   "where the run rounded to 16 or 8 bits")
                ->check(number_within(1e-12, 1.0))
                ->type_name("X");
            app.add_flag("--probe", options->probe, "Only open and walk the file");
            return [=](Invocation& invocation) { verify(invocation, *options); };
          }};
}

}  // namespace headlight::cli
