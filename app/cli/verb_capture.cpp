#include <chrono>
#include <ctime>
#include <limits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/cli/build_info.h"
#include "app/cli/head_selection.h"
#include "app/cli/intervention_input.h"
#include "app/cli/model_input.h"
#include "app/cli/progress.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "base/file.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/intervention/intervention_file.h"
#include "kernels/cpu_tier.h"

namespace headlight::cli {
namespace {

struct CaptureOptions {
  ModelOptions model;
  PromptOptions prompt;
  engine::SamplingOptions sampling;
  HeadOptions heads;
  std::string output, level, layers, rows, logits = "last", replay_dtype = "auto", max_bytes;
  std::int64_t generate = 0;
  bool estimate = false, force = false, hidden = false, no_values = false, no_overview = false, fast_identity = false,
       reproducible = false;
};

/// "auto" is the type of the operands themselves.
DType replay_dtype(const CaptureOptions& options, DType operands) {
  if (options.replay_dtype == "auto") return operands;
  return options.replay_dtype == "f16" ? DType::f16 : options.replay_dtype == "bf16" ? DType::bf16 : DType::f32;
}

capture::CapturePlan make_plan(const CaptureOptions& options, const formats::ModelSpec& spec, DType operands,
                               bool is_corpus, std::int64_t shortest, std::int64_t longest) {
  capture::CapturePlan plan;
  const std::string level = !options.level.empty() ? options.level : is_corpus ? "summary" : "replay";
  plan.level = level == "summary" ? capture::CaptureLevel::summary
               : level == "maps"  ? capture::CaptureLevel::maps
                                  : capture::CaptureLevel::replay;
  plan.layers = parse_index_list("--layers", options.layers, spec.num_layers);
  const heads::HeadGrid grid{spec.num_layers, spec.num_heads, spec.num_kv_heads};
  plan.heads_lh = select_heads(options.heads, model_head_facts(grid, plan.layers, options.heads.headplan), plan.layers);
  if (shortest != longest && options.rows.find('-') != std::string::npos)
    throw Error(Errc::unsupported, "rows from the end of prompts that differ in length are not in this version",
                {.file = {}, .field = "--rows", .offset = {}, .hint = "count the rows from the start"});
  if (!options.rows.empty()) std::tie(plan.row_begin, plan.row_end) = parse_slice("--rows", options.rows, longest);
  plan.replay_dtype = replay_dtype(options, operands);
  plan.store_values = !options.no_values;
  plan.overview = !options.no_overview && !is_corpus;
  plan.logits = options.logits == "all"    ? capture::LogitsKept::all
                : options.logits == "none" ? capture::LogitsKept::none
                                           : capture::LogitsKept::last;
  plan.hidden_states = options.hidden;
  return plan;
}

std::string utc_now() {
  std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  if (const char* fixed = std::getenv("SOURCE_DATE_EPOCH")) now = static_cast<std::time_t>(std::atoll(fixed));
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

capture::Provenance make_provenance(const Invocation& invocation, const CaptureOptions& options,
                                    const engine::Engine& engine) {
  capture::Provenance provenance;
  provenance.tool_version = version();
  provenance.git_commit = build_commit();
  provenance.build_type = build_type();
  provenance.compiler = build_compiler();
  provenance.cpu = cpu_name();
  provenance.cpu_tier = kernels::to_string(kernels::active_cpu_tier());
  provenance.compute_dtype = to_string(engine.compute_dtype());
  provenance.kv_dtype = to_string(engine.kv_dtype());
  provenance.activation_quant = options.model.act_quant;
  provenance.embedding_scale = options.model.gemma_embed_scale;
  provenance.sliding_window = options.model.sliding_window;
  provenance.device_name = engine.device_name();
  provenance.command_line = invocation.command_line;
  provenance.started = utc_now();
  provenance.threads = engine.pool().num_threads();
  provenance.seed = options.sampling.seed;
  return provenance;
}

std::string estimate_text(const engine::MemoryEstimate& memory, bool on_device, const capture::SizeEstimate& disk,
                          std::int64_t total) {
  return fmt::format(
      "{}: {} (weights {}, KV cache {}, activations {}, statistics {})\n"
      "disk:   {} (per record: statistics {}, replay {}, maps {}, overview {}, hidden {}, logits {})\n",
      on_device ? "device memory" : "memory", human_bytes(memory.total()), human_bytes(memory.weights),
      human_bytes(memory.kv_cache), human_bytes(memory.activations), human_bytes(memory.statistics), human_bytes(total),
      human_bytes(disk.statistics), human_bytes(disk.replay), human_bytes(disk.maps), human_bytes(disk.overview),
      human_bytes(disk.hidden), human_bytes(disk.logits));
}

/// What is about to be recorded.
struct PreparedCapture {
  std::unique_ptr<engine::Engine> engine;
  engine::EngineOptions options;  ///< of the device that was asked for
  std::vector<capture::RecordHeader> records;
  bool is_corpus = false;
  std::int64_t longest = 0, all_rows = 0;  ///< rows of the longest record, of all records
  capture::CaptureHeader header;
};

PreparedCapture prepare(Invocation& invocation, const CaptureOptions& options) {
  PreparedCapture run;
  run.options = engine_options(options.model);
  ModelOptions model = options.model;
  if (options.estimate) model.device = "cpu";  // nothing is loaded to find out what would be
  run.engine = load_engine(model);
  if (!options.estimate) check_output_is_new(options.output, run.engine->model(), options.prompt);
  run.records = read_prompts(invocation, run.engine->model(), options.prompt);
  run.is_corpus = !options.prompt.corpus.empty();
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  for (const auto& record : run.records) {
    const std::int64_t rows = record.num_prompt_tokens + std::max<std::int64_t>(0, options.generate - 1);
    shortest = std::min(shortest, rows);
    run.longest = std::max(run.longest, rows);
    run.all_rows += rows;
  }
  const bool on_device = options.estimate ? run.options.cuda_device >= 0 : run.engine->compute_dtype() != DType::f32;
  const DType operands = on_device ? run.options.cuda_dtype : DType::f32;
  run.header.plan = make_plan(options, run.engine->spec(), operands, run.is_corpus, shortest, run.longest);
  run.header.model = run.engine->model_info();
  run.header.provenance = make_provenance(invocation, options, *run.engine);
  run.header.num_records = std::ssize(run.records);
  return run;
}

void print_estimate(Invocation& invocation, const CaptureOptions& options, const PreparedCapture& run,
                    const capture::SizeEstimate& disk, std::int64_t disk_total) {
  const auto memory = engine::estimate_memory(run.engine->spec(), run.engine->model().weights.total_bytes(),
                                              run.options, run.longest, &run.header.plan, options.generate);
  if (invocation.json)
    print_json(invocation, {options.model.model}, {{"memory_bytes", memory.total()}, {"disk_bytes", disk_total}});
  else
    print_text(estimate_text(memory, run.options.cuda_device >= 0, disk, disk_total));
}

void check_size(const CaptureOptions& options, std::int64_t disk_total) {
  if (!options.max_bytes.empty()) {
    const std::int64_t limit = parse_bytes("--max-bytes", options.max_bytes);
    if (disk_total > limit)
      throw Error(Errc::invalid_argument,
                  fmt::format("the capture would take about {}, more than the limit of {}", human_bytes(disk_total),
                              human_bytes(limit)),
                  {.file = {},
                   .field = "--max-bytes",
                   .offset = {},
                   .hint = "use --level summary, fewer --layers or --heads, or --replay-dtype bf16"});
  }
  capture::check_free_space(options.output, disk_total);
}

void report(Invocation& invocation, const CaptureOptions& options, const PreparedCapture& run, std::int64_t failed,
            double seconds) {
  std::error_code ignored;
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(options.output, ignored));
  const auto count = run.header.num_records;
  if (invocation.json)
    print_json(invocation, {options.model.model},
               {{"output", options.output},
                {"bytes", bytes},
                {"num_records", count},
                {"num_failed", failed},
                {"num_rows", run.all_rows},
                {"level", capture::to_string(run.header.plan.level)},
                {"seconds", seconds}});
  else
    print_text(fmt::format("{}: {} {}, {} rows, {} layers x {} heads, level {}, {} in {:.1f} s ({:.0f} tokens/s)\n",
                           options.output, count, count == 1 ? "record" : "records", run.all_rows,
                           run.header.plan.layers.size(), run.engine->spec().num_heads,
                           capture::to_string(run.header.plan.level), human_bytes(bytes), seconds,
                           static_cast<double>(run.all_rows) / seconds));
  if (failed > 0)
    throw Error(Errc::partial, fmt::format("{} of {} records failed", failed, count),
                {.file = options.output, .field = {}, .offset = {}, .hint = {}});
}

/// Records with their interventions, which the capture keeps as they are resolved for each prompt.
std::vector<engine::CaptureInput> capture_inputs(const CaptureOptions& options, PreparedCapture& run) {
  std::vector<engine::CaptureInput> inputs;
  for (auto& record : run.records) {
    intervention::InterventionFile file;
    if (!options.model.interventions.empty()) {
      file.interventions = read_interventions(options.model, record);
      record.interventions = dump_json(intervention::to_json(file));
    }
    inputs.push_back({std::move(record), options.generate, std::move(file.interventions)});
  }
  return inputs;
}

void record(Invocation& invocation, const CaptureOptions& options, PreparedCapture& run) {
  engine::Engine& engine = *run.engine;
  if (!options.fast_identity) run.header.model.file_sha256 = formats::file_hashes(engine.model());
  const bool stacked = run.is_corpus && run.header.plan.level == capture::CaptureLevel::summary;
  if (stacked && !options.model.interventions.empty())
    throw Error(Errc::unsupported, "interventions over a corpus of level summary are not in this version",
                {.file = {}, .field = "--intervention", .offset = {}, .hint = "record it with --level replay"});
  const auto sink = capture::create_capture(options.output, {.overwrite = options.force,
                                                             .stacked_corpus = stacked,
                                                             .reproducible = options.reproducible,
                                                             .compression_threads = engine.pool().num_threads()});
  std::vector<engine::CaptureInput> inputs = capture_inputs(options, run);
  ProgressBar progress(invocation);
  const auto begin = std::chrono::steady_clock::now();
  const std::int64_t failed =
      engine::run_capture(engine, inputs, run.header, options.sampling, *sink,
                          [&](const engine::Progress& p) { progress.update(p.phase, p.done, p.total, p.tokens_done); },
                          invocation.stop, {.interventions = {}, .prompt_done = {}, .base_statistics = true});
  progress.clear();
  formats::check_unchanged(engine.model());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report(invocation, options, run, failed, seconds);
}

void run(Invocation& invocation, const CaptureOptions& options) {
  if (options.output.empty() && !options.estimate)
    throw Error(Errc::invalid_argument, "an output file is missing",
                {.file = {}, .field = "--out", .offset = {}, .hint = "for example -o capture.h5"});
  if (!options.output.empty() && !options.estimate) check_output_path(options.output, options.force);
  PreparedCapture run = prepare(invocation, options);
  auto disk = capture::estimate_capture_bytes(run.header, run.longest);
  if (!options.model.interventions.empty()) disk.statistics *= 2;  // with and without them
  const auto disk_total = static_cast<std::int64_t>(
      static_cast<double>(disk.total()) * static_cast<double>(run.all_rows) / static_cast<double>(run.longest));
  if (options.estimate) return print_estimate(invocation, options, run, disk, disk_total);
  check_size(options, disk_total);
  record(invocation, options, run);
}

}  // namespace

Verb capture_verb() {
  return {
      .name = "capture",
      .summary = "Run a model on a prompt or corpus and record its attention exactly",
      .examples = {"headlight capture smollm2-135m -p 'The cat sat on the mat' -o cat.h5",
                   "headlight capture smollm2-135m -f book.txt --level summary -o book.h5",
                   "headlight capture smollm2-135m -f book.txt --estimate",
                   "headlight capture smollm2-135m -f a.txt --intervention sinks.json -o b.h5",
                   "headlight capture smollm2-135m --corpus prompts.jsonl -o corpus.h5"},
      .define = [](CLI::App& app) -> Action {
        auto options = std::make_shared<CaptureOptions>();
        add_model_options(app, options->model);
        add_prompt_options(app, options->prompt, true);
        add_sampling_options(app, options->sampling);
        add_intervention_option(app, options->model);
        const char* group = "Capture";
        app.add_option("-o,--out", options->output, "Capture file")->type_name("FILE.h5")->group(group);
        app.add_option("--level", options->level, "What to keep; default replay, corpora summary")
            ->check(CLI::IsMember({"summary", "replay", "maps"}))
            ->group(group);
        app.add_option("--layers", options->layers, "Layers to record, e.g. 0-7,12; default all")
            ->type_name("LIST")
            ->group(group);
        add_head_options(app, options->heads, "Heads kept for replay, e.g. 3.7,4.* or L3H7; default all", group);
        app.add_option("--rows", options->rows, "Query rows kept for replay, a:b half-open; default all")
            ->type_name("RANGE")
            ->group(group);
        app.add_option("-n,--generate", options->generate, "New tokens to generate and record")
            ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 22))
            ->type_name("N")
            ->capture_default_str()
            ->group(group);
        app.add_option("--logits", options->logits, "Full logits to keep")
            ->check(CLI::IsMember({"last", "all", "none"}))
            ->capture_default_str()
            ->group(group);
        app.add_option("--replay-dtype", options->replay_dtype,
                       "Stored q, k, v, rounded before the product; auto = as computed")
            ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}))
            ->capture_default_str()
            ->group(group);
        app.add_flag("--no-values", options->no_values, "Do not store v")->group(group);
        app.add_flag("--no-overview", options->no_overview, "Do not store the coarse block maps")->group(group);
        app.add_flag("--hidden", options->hidden, "Store every hidden state")->group(group);
        app.add_flag("--estimate", options->estimate, "Print memory and disk needs and stop")->group(group);
        app.add_option("--max-bytes", options->max_bytes, "Refuse a larger capture before running")
            ->type_name("SIZE")
            ->group(group);
        app.add_flag("--fast-identity", options->fast_identity, "Skip the SHA-256 of the weight files")->group(group);
        app.add_flag("--reproducible", options->reproducible,
                     "Same run, same bytes: no random uuid, dates from SOURCE_DATE_EPOCH")
            ->group(group);
        app.add_flag("--force", options->force, "Overwrite the output")->group(group);
        return [=](Invocation& invocation) { run(invocation, *options); };
      }};
}

}  // namespace headlight::cli
