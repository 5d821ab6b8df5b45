#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include "kernels_cuda/cuda_kernels.h"

#include "app/cli/model_input.h"
#include "app/cli/progress.h"
#include "app/cli/random_model.h"
#include "app/cli/ranges.h"
#include "base/error.h"
#include "kernels/attention.h"

namespace headlight::cli {
namespace {

struct BenchOptions {
  std::string what = "end-to-end", lengths = "512,2048";
  ModelOptions model;
  int repeats = 3, decode_tokens = 64;
};

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double best_of(int repeats, const std::function<void()>& work) {
  double best = seconds_of(work);
  for (int i = 1; i < repeats; ++i) best = std::min(best, seconds_of(work));
  return best;
}

/// Forgets everything but the time of phases: measures the engine with statistics, without any storage behind it.
class NullSink final : public capture::CaptureSink {
 public:
  void begin(const capture::CaptureHeader&) override {}
  void begin_record(const capture::RecordHeader&) override {}
  void write_rows(const capture::LayerRows&) override {}
  void write_columns(const capture::LayerColumns&) override {}
  void write_dense(const capture::DenseRows&) override {}
  void write_topk(std::span<const capture::TopkRow>) override {}
  void write_hidden(const capture::HiddenRows&) override {}
  void write_massive(std::span<const capture::MassiveActivation>) override {}
  void write_logits(const capture::LogitRows&) override {}
  void append_generated(const capture::TokenInfo&, float) override {}
  void end_record(std::int64_t rows, const std::vector<std::pair<std::string, double>>& seconds) override {
    rows_done = rows;
    for (const auto& [phase, time] : seconds)
      if (phase == "decode") decode_seconds = time;
  }
  void finish(bool) override {}
  void flush() override {}

  std::int64_t rows_done = 0;
  double decode_seconds = 0.0;
};

std::vector<std::int32_t> random_ids(std::int64_t count, std::int64_t vocab_size) {
  std::mt19937 random(1);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size)));
  return ids;
}

void run_into(NullSink& sink, engine::Engine& engine, const std::vector<std::int32_t>& ids, capture::CaptureLevel level,
              std::int64_t generate) {
  capture::CaptureHeader header;
  header.plan.level = level;
  for (int l = 0; l < engine.spec().num_layers; ++l) header.plan.layers.push_back(l);
  header.plan.heads_lh.assign(static_cast<std::size_t>(engine.spec().num_layers * engine.spec().num_heads), 1);
  engine::CaptureInput input;
  input.generate = generate;
  for (const auto id : ids) {
    input.header.tokens.emplace_back();
    input.header.tokens.back().id = id;
  }
  input.header.num_prompt_tokens = std::ssize(ids);
  engine::run_capture(engine, {input}, header, {}, sink);
}

double capture_seconds(engine::Engine& engine, const std::vector<std::int32_t>& ids, capture::CaptureLevel level) {
  return seconds_of([&] {
    NullSink sink;
    run_into(sink, engine, ids, level, 0);
  });
}

/// Rows per second of generation that is recorded at level summary.
double recorded_decode_rate(engine::Engine& engine, const std::vector<std::int32_t>& ids, std::int64_t tokens) {
  NullSink sink;
  run_into(sink, engine, ids, capture::CaptureLevel::summary, tokens + 1);  // the last token is not evaluated
  return static_cast<double>(sink.rows_done - std::ssize(ids)) / sink.decode_seconds;
}

Json bench_length(engine::Engine& engine, std::int64_t length, const BenchOptions& options) {
  const auto ids = random_ids(length, engine.spec().vocab_size);
  std::vector<float> logits(static_cast<std::size_t>(engine.spec().vocab_size));
  // In turns, so that other load on the machine meets all three.
  double plain = INFINITY, summary = INFINITY, replay = INFINITY;
  for (int r = 0; r < options.repeats; ++r) {
    plain = std::min(plain, seconds_of([&] {
                       engine::Session session(engine);
                       session.forward(ids, logits);
                     }));
    summary = std::min(summary, capture_seconds(engine, ids, capture::CaptureLevel::summary));
    replay = std::min(replay, capture_seconds(engine, ids, capture::CaptureLevel::replay));
  }
  engine::Session session(engine);
  session.forward(ids, logits);
  const auto next = random_ids(options.decode_tokens, engine.spec().vocab_size);
  const double decode = seconds_of([&] {
    for (const auto id : next) session.forward(std::span(&id, 1), logits);
  });
  const auto rate = [&](double seconds) { return static_cast<double>(length) / seconds; };
  return {{"tokens", length},
          {"prefill_tokens_per_s", rate(plain)},
          {"summary_tokens_per_s", rate(summary)},
          {"replay_tokens_per_s", rate(replay)},
          {"statistics_over_plain", summary / plain},
          {"replay_over_summary", replay / summary},
          {"decode_tokens_per_s", options.decode_tokens / decode},
          {"summary_decode_tokens_per_s", recorded_decode_rate(engine, ids, options.decode_tokens)}};
}

/// 0 on the CPU.
std::int64_t peak_device_bytes(const engine::Engine& engine) {
  const int device = engine.options().cuda_device;
  return device < 0 ? 0 : static_cast<std::int64_t>(cuda::cuda_kernels()->peak_bytes(device));
}

std::int64_t peak_resident_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * std::int64_t{1024};
}

void bench_end_to_end(Invocation& invocation, const BenchOptions& options) {
  if (options.model.model.empty())
    throw Error(Errc::invalid_argument, "a model or shape is missing",
                {.file = {},
                 .field = "MODEL",
                 .offset = {},
                 .hint = "give a model, or a shape with random weights: " + shape_names()});
  engine::Engine engine(
      is_shape(options.model.model) ? random_model(options.model.model) : open_model_file(options.model),
      engine_options(options.model));
  Json rows = Json::array();
  ProgressBar progress(invocation);
  const auto lengths = parse_integers("--lengths", options.lengths);
  for (std::size_t k = 0; k < lengths.size(); ++k) {
    if (lengths[k] < 1 || lengths[k] + options.decode_tokens > engine.spec().context_length)
      throw Error(Errc::prompt_too_long,
                  fmt::format("{} tokens and {} decoded ones exceed the context of {}", lengths[k],
                              options.decode_tokens, engine.spec().context_length),
                  {.file = {}, .field = "--lengths", .offset = {}, .hint = {}});
    progress.update("bench", static_cast<std::int64_t>(k), std::ssize(lengths));
    rows.push_back(bench_length(engine, lengths[k], options));
    if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, "bench stopped");
  }
  progress.clear();
  if (invocation.json) {
    print_json(invocation, {options.model.model},
               {{"device", engine.device_name()},
                {"threads", engine.pool().num_threads()},
                {"peak_resident_bytes", peak_resident_bytes()},
                {"peak_device_bytes", peak_device_bytes(engine)},
                {"lengths", rows}});
    return;
  }
  std::string text =
      fmt::format("{} on {}, {} threads; tokens/s, best of {}\n{:>8} {:>10} {:>12} {:>10} {:>14} {:>10} {:>12}\n",
                  options.model.model, engine.device_name(), engine.pool().num_threads(), options.repeats, "tokens",
                  "prefill", "+statistics", "+replay", "stats/prefill", "decode", "+statistics");
  for (const auto& row : rows)
    text += fmt::format("{:>8} {:>10.0f} {:>12.0f} {:>10.0f} {:>14.3f} {:>10.1f} {:>12.1f}\n",
                        row["tokens"].get<std::int64_t>(), row["prefill_tokens_per_s"].get<double>(),
                        row["summary_tokens_per_s"].get<double>(), row["replay_tokens_per_s"].get<double>(),
                        row["statistics_over_plain"].get<double>(), row["decode_tokens_per_s"].get<double>(),
                        row["summary_decode_tokens_per_s"].get<double>());
  text += fmt::format("peak resident memory {}", human_bytes(peak_resident_bytes()));
  if (const std::int64_t bytes = peak_device_bytes(engine); bytes > 0)
    text += fmt::format(", device memory {}", human_bytes(bytes));
  print_text(text + "\n");
}

struct KernelShape {
  std::string name;
  int num_heads, num_kv_heads, head_dim;
};

/// Attention of one layer, plain and with statistics, in GFLOP/s of the causal half.
Json bench_attention(ThreadPool& pool, const KernelShape& shape, std::int64_t n, int repeats) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::size_t size) {
    std::vector<float> values(size);
    for (float& x : values) x = normal(random);
    return values;
  };
  const auto hd = static_cast<std::size_t>(shape.num_heads * shape.head_dim),
             gd = static_cast<std::size_t>(shape.num_kv_heads * shape.head_dim);
  const auto rows = static_cast<std::size_t>(n);
  const auto q = fill(rows * hd), k = fill(rows * gd), v = fill(rows * gd);
  std::vector<float> out(rows * hd);
  kernels::AttentionInputs in;
  in.num_queries = in.num_keys = n;
  in.num_heads = shape.num_heads;
  in.num_kv_heads = shape.num_kv_heads;
  in.head_dim = shape.head_dim;
  in.q_ihd = q.data();
  in.q_stride = static_cast<std::int64_t>(hd);
  in.k_gjd = k.data();
  in.v_gjd = v.data();
  in.kv_stride = n * shape.head_dim;
  in.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  kernels::AttentionWorkspace workspace;
  const double plain = best_of(repeats, [&] {
    kernels::attention(pool, workspace, in, out.data(), static_cast<std::int64_t>(hd), nullptr, nullptr);
  });

  const auto heads = static_cast<std::size_t>(shape.num_heads);
  std::vector<std::vector<float>> row_values(11, std::vector<float>(heads * rows));
  std::vector<std::int32_t> jmax(heads * rows);
  std::vector<float> received(heads * rows), tail(heads * rows);
  kernels::AttentionStatisticsPlan plan;
  plan.tail_rows = {std::max<std::int64_t>(0, n - 32), n};
  kernels::AttentionStatistics statistics;
  statistics.row_stride = statistics.col_stride = n;
  float** targets[] = {&statistics.lse_hi,  &statistics.entropy_hi, &statistics.pmax_hi,     &statistics.first_hi,
                       &statistics.sink_hi, &statistics.local_hi,   &statistics.dist1_hi,    &statistics.dist2_hi,
                       &statistics.off0_hi, &statistics.off1_hi,    &statistics.null_mass_hi};
  for (std::size_t i = 0; i < row_values.size(); ++i) *targets[i] = row_values[i].data();
  statistics.jmax_hi = jmax.data();
  statistics.received_hj = received.data();
  statistics.received_tail_hj = tail.data();
  const double measured = best_of(repeats, [&] {
    kernels::attention(pool, workspace, in, out.data(), static_cast<std::int64_t>(hd), &plan, &statistics);
  });
  const double flop =
      4.0 * shape.num_heads * shape.head_dim * (static_cast<double>(n) * static_cast<double>(n + 1) / 2);
  return {{"kernel", "attention"},
          {"shape", shape.name},
          {"tokens", n},
          {"ms", plain * 1e3},
          {"gflop_per_s", flop / plain * 1e-9},
          {"ms_statistics", measured * 1e3},
          {"statistics_over_plain", measured / plain}};
}

void bench_kernels(Invocation& invocation, const BenchOptions& options) {
  ThreadPool pool(options.model.threads > 0 ? options.model.threads : ThreadPool::available_threads());
  const std::vector<KernelShape> shapes = {{"smollm2-135m", 9, 3, 64}, {"llama3-8b", 32, 8, 128}};
  Json rows = Json::array();
  for (const auto& shape : shapes)
    for (const auto length : parse_integers("--lengths", options.lengths)) {
      if (length < 1 || length > 1 << 17)
        throw Error(Errc::invalid_argument, fmt::format("expected lengths within 1-131072, found {}", length),
                    {.file = {}, .field = "--lengths", .offset = {}, .hint = {}});
      rows.push_back(bench_attention(pool, shape, length, options.repeats));
      if (invocation.stop.stop_requested()) throw Error(Errc::cancelled, "bench stopped");
    }
  if (invocation.json) {
    print_json(invocation, {}, {{"threads", pool.num_threads()}, {"kernels", rows}});
    return;
  }
  std::string text =
      fmt::format("{} threads, best of {}\n{:<12} {:<14} {:>8} {:>10} {:>10} {:>14} {:>8}\n", pool.num_threads(),
                  options.repeats, "kernel", "shape", "tokens", "ms", "GFLOP/s", "ms+statistics", "ratio");
  for (const auto& row : rows)
    text += fmt::format("{:<12} {:<14} {:>8} {:>10.2f} {:>10.1f} {:>14.2f} {:>8.3f}\n",
                        row["kernel"].get<std::string>(), row["shape"].get<std::string>(),
                        row["tokens"].get<std::int64_t>(), row["ms"].get<double>(), row["gflop_per_s"].get<double>(),
                        row["ms_statistics"].get<double>(), row["statistics_over_plain"].get<double>());
  print_text(text);
}

}  // namespace

Verb bench_verb() {
  return {.name = "bench",
          .summary = "Speed of the kernels, and of a model plain, with statistics and with replay data",
          .examples = {"headlight bench end-to-end smollm2-135m --lengths 512,2048",
                       "headlight bench end-to-end llama3-8b --lengths 128 --repeats 1",
                       "headlight bench kernels --lengths 512"},
          .define = [](CLI::App& app) -> Action {
            auto options = std::make_shared<BenchOptions>();
            app.add_option("WHAT", options->what, "end-to-end or kernels")
                ->required()
                ->check(CLI::IsMember({"end-to-end", "kernels"}));
            add_model_options(app, options->model, false);
            app.add_option("--lengths", options->lengths, "Prompt lengths")->type_name("LIST")->capture_default_str();
            app.add_option("--repeats", options->repeats, "Best of R runs")
                ->check(CLI::Range(1, 100))
                ->type_name("R")
                ->capture_default_str();
            app.add_option("--decode", options->decode_tokens, "Tokens to decode after each prompt")
                ->check(CLI::Range(1, 4096))
                ->type_name("N")
                ->capture_default_str();
            return [=](Invocation& invocation) {
              if (options->what == "kernels")
                bench_kernels(invocation, *options);
              else
                bench_end_to_end(invocation, *options);
            };
          }};
}

}  // namespace headlight::cli
