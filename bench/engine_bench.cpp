// Speed of the engine on one model: prefill alone, prefill with statistics (summary and replay level into a sink that
// drops everything), decode. Best of several runs.
//     headlight_engine_bench MODEL [N ...]        default N: 512 2048
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "core/engine/engine.h"

namespace {

using namespace headlight;

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
  void end_record(std::int64_t, const std::vector<std::pair<std::string, double>>& timing) override { phases = timing; }
  void finish(bool) override {}
  void flush() override {}

  std::vector<std::pair<std::string, double>> phases;
};

/// Wall time and time of all threads on a core: on a busy machine the second is the one to compare.
struct Seconds {
  double wall = 1e30, cpu = 1e30;
};

template <class Work>
Seconds best_seconds(int runs, const Work& work) {
  Seconds best;
  for (int run = 0; run < runs; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    const std::clock_t cpu_begin = std::clock();
    work();
    best.cpu = std::min(best.cpu, static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC);
    best.wall = std::min(best.wall, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

// Ids spread over the vocabulary: speed does not depend on which.
std::vector<std::int32_t> ids_of(std::int64_t n, std::int64_t vocab) {
  std::vector<std::int32_t> ids;
  std::uint64_t state = 1;
  for (std::int64_t i = 0; i < n; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids.push_back(static_cast<std::int32_t>((state >> 33) % static_cast<std::uint64_t>(vocab)));
  }
  return ids;
}

capture::CaptureHeader header_of(const engine::Engine& engine, capture::CaptureLevel level, bool overview) {
  capture::CaptureHeader header;
  header.model = engine.model_info();
  header.plan.level = level;
  header.plan.overview = overview;
  for (int layer = 0; layer < engine.spec().num_layers; ++layer) header.plan.layers.push_back(layer);
  header.plan.heads_lh.assign(header.plan.layers.size() * static_cast<std::size_t>(engine.spec().num_heads), 1);
  return header;
}

std::vector<engine::CaptureInput> input_of(const std::vector<std::int32_t>& ids) {
  engine::CaptureInput input;
  for (const std::int32_t id : ids) {
    capture::TokenInfo token;
    token.id = id;
    input.header.tokens.push_back(token);
  }
  return {input};
}

std::int64_t peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::atoll(line.c_str() + 6) / 1024;
  return 0;
}

void measure(engine::Engine& engine, std::int64_t n) {
  constexpr int kRuns = 3, kNewTokens = 64;
  const auto ids = ids_of(n, engine.spec().vocab_size);
  const auto report = [n](const char* what, Seconds seconds, Seconds base) {
    fmt::print("N={:<6} {:<24} {:8.3f} s  {:8.1f} tokens/s  cpu {:8.3f} s", n, what, seconds.wall,
               static_cast<double>(n) / seconds.wall, seconds.cpu);
    if (base.wall < 1e30)
      fmt::print("  {:+.1f}%, cpu {:+.1f}%", 100.0 * (seconds.wall / base.wall - 1.0),
                 100.0 * (seconds.cpu / base.cpu - 1.0));
    fmt::print("\n");
  };
  std::vector<float> logits(static_cast<std::size_t>(engine.spec().vocab_size));
  const Seconds plain = best_seconds(kRuns, [&] { engine::Session(engine).forward(ids, logits); });
  report("prefill", plain, {});
  const auto measure_capture = [&](const char* what, capture::CaptureLevel level, bool overview) {
    NullSink sink;
    const auto inputs = input_of(ids);
    const auto header = header_of(engine, level, overview);
    report(what, best_seconds(kRuns, [&] { engine::run_capture(engine, inputs, header, {}, sink); }), plain);
    for (const auto& [phase, seconds] : sink.phases) fmt::print("           {:<10} {:.3f} s\n", phase, seconds);
  };
  measure_capture("summary, no overview", capture::CaptureLevel::summary, false);
  measure_capture("summary", capture::CaptureLevel::summary, true);
  measure_capture("replay", capture::CaptureLevel::replay, true);
  engine::Session session(engine);
  session.forward(ids, logits);
  const Seconds decode = best_seconds(1, [&] {
    for (int step = 0; step < kNewTokens; ++step)
      session.forward(std::span(ids).subspan(static_cast<std::size_t>(step % n), 1), logits);
  });
  fmt::print("N={:<6} {:<24} {:8.3f} s  {:8.1f} tokens/s  cpu {:8.3f} s\n", n, "decode 64", decode.wall,
             kNewTokens / decode.wall, decode.cpu);
  fmt::print("N={:<6} peak memory {} MiB\n", n, peak_mib());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: headlight_engine_bench MODEL [N ...]\n");
    return 2;
  }
  try {
    engine::Engine engine(formats::open_model(formats::resolve_model(argv[1])), {});
    std::vector<std::int64_t> lengths;
    for (int a = 2; a < argc; ++a) lengths.push_back(std::atoll(argv[a]));
    if (lengths.empty()) lengths = {512, 2048};
    for (const std::int64_t n : lengths) measure(engine, n);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return exit_code(error.code());
  }
}
