// Linear layers: matrix products on dequantised panels, decode, and what they are measured against (stream bandwidth,
// FMA peak). HEADLIGHT_BENCH_THREADS sets the threads, HEADLIGHT_CPU_TIER the instruction set.

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"

namespace headlight::kernels {
namespace {

ThreadPool& pool() {
  static const char* wanted = std::getenv("HEADLIGHT_BENCH_THREADS");
  static ThreadPool shared(wanted ? std::atoi(wanted) : ThreadPool::available_threads());
  return shared;
}

/// Random codes; scales small enough that nothing overflows.
std::vector<std::byte> random_matrix(TensorType type, std::int64_t rows, std::int64_t cols) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows) * row_bytes(type, cols));
  for (auto& byte : bytes) byte = static_cast<std::byte>(random() & 0x2fu);
  return bytes;
}

std::vector<float> random_values(std::int64_t count) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

using LinearFunction = decltype(&linear);

void run_linear(benchmark::State& state, LinearFunction function, TensorType type, std::int64_t n, std::int64_t cols,
                std::int64_t rows) {
  const auto bytes = random_matrix(type, rows, cols);
  const MatrixView w{type, rows, cols, bytes.data()};
  const auto x = random_values(n * cols);
  std::vector<float> y(static_cast<std::size_t>(n * rows));
  LinearWorkspace workspace;
  for (auto _ : state) {
    function(pool(), workspace, w, x.data(), n, cols, y.data(), rows, nullptr);
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  const auto calls = static_cast<double>(state.iterations());
  const auto work = 2.0 * static_cast<double>(n) * static_cast<double>(cols) * static_cast<double>(rows);
  state.counters["GFLOP/s"] = benchmark::Counter(calls * work * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(calls * static_cast<double>(bytes.size()) * 1e-9, benchmark::Counter::kIsRate);
}

/// The seven matrices of every layer and the output matrix, one token: SmolLM2-135M.
void decode_step(benchmark::State& state, LinearFunction function, TensorType type) {
  constexpr int kLayers = 30;
  constexpr std::int64_t kShapes[][2] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                         {1536, 576}, {1536, 576}, {576, 1536}};
  std::vector<std::vector<std::byte>> storage;
  std::vector<MatrixView> matrices;
  const auto add = [&](std::int64_t rows, std::int64_t cols) {
    storage.push_back(random_matrix(type, rows, cols));
    matrices.push_back({type, rows, cols, storage.back().data()});
  };
  for (int layer = 0; layer < kLayers; ++layer)
    for (const auto& shape : kShapes) add(shape[0], shape[1]);
  add(49152, 576);
  const auto x = random_values(1536);
  std::vector<float> y(49152);
  LinearWorkspace workspace;
  for (auto _ : state)
    for (const auto& w : matrices) function(pool(), workspace, w, x.data(), 1, w.cols, y.data(), w.rows, nullptr);
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

/// Bytes read per second by all threads from a buffer larger than the caches of small machines.
void stream_read(benchmark::State& state) {
  const std::int64_t count = 64 << 20, piece = 1 << 18;
  const std::vector<float> data(static_cast<std::size_t>(count), 1.0f);
  std::vector<float> sums(static_cast<std::size_t>(count / piece));
  for (auto _ : state) {
    pool().parallel_for(count / piece, [&](std::int64_t task, int) {
      sums[static_cast<std::size_t>(task)] =
          row_facts({data.data() + task * piece, static_cast<std::size_t>(piece)}).mean;
    });
    benchmark::DoNotOptimize(sums.data());
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * count * 4) * 1e-9, benchmark::Counter::kIsRate);
}

/// What an empty parallel_for costs: the price of sharing a small piece of work.
void fork_join(benchmark::State& state) {
  for (auto _ : state) pool().parallel_for(2, [](std::int64_t, int) {});
}

void dequantize_panel(benchmark::State& state, TensorType type) {
  const std::int64_t rows = 96, cols = 4096 - 4096 % 256;
  const auto bytes = random_matrix(type, rows, cols);
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  for (auto _ : state) {
    dequantize_rows({type, rows, cols, bytes.data()}, 0, rows, out.data());
    benchmark::ClobberMemory();
  }
  state.counters["Gvalues/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * rows * cols) * 1e-9, benchmark::Counter::kIsRate);
}

void elementwise_silu(benchmark::State& state) {
  const std::int64_t count = state.range(0) * 1536;
  const auto gate = random_values(count), up = random_values(count);
  std::vector<float> out(gate.size());
  for (auto _ : state) gated_activation(pool(), ActivationKind::silu, gate.data(), up.data(), out.data(), count);
  state.counters["Gvalues/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * count) * 1e-9, benchmark::Counter::kIsRate);
}

void elementwise_rms_norm(benchmark::State& state) {
  const std::int64_t n = state.range(0), d = 576;
  const auto x = random_values(n * d), weight = random_values(d);
  std::vector<float> y(x.size());
  for (auto _ : state) rms_norm(pool(), x.data(), y.data(), n, d, weight.data(), 1e-5f);
  state.counters["Gvalues/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * n * d) * 1e-9, benchmark::Counter::kIsRate);
}

constexpr TensorType kTypes[] = {TensorType::f32,  TensorType::f16,  TensorType::bf16, TensorType::q4_0,
                                 TensorType::q4_1, TensorType::q5_0, TensorType::q5_1, TensorType::q8_0,
                                 TensorType::q4_k, TensorType::q5_k, TensorType::q6_k, TensorType::q2_k};

void register_all() {
  benchmark::RegisterBenchmark("fork_join", fork_join)->UseRealTime();
  benchmark::RegisterBenchmark("stream_read", stream_read)->UseRealTime();
  const std::int64_t shapes[][2] = {{576, 576}, {576, 192}, {576, 1536}, {1536, 576}, {576, 49152}, {4096, 4096}};
  for (const auto& shape : shapes) {
    for (const std::int64_t n : {1, 3, 4, 8, 12, 16, 32, 64, 512, 2048}) {
      for (const auto type : {TensorType::f32, TensorType::q4_1}) {
        if (n * shape[0] * shape[1] > 64LL << 30) continue;
        const std::string name = "linear/" + std::string(info(type).name) + "/n" + std::to_string(n) + "/k" +
                                 std::to_string(shape[0]) + "/rows" + std::to_string(shape[1]);
        benchmark::RegisterBenchmark(name.c_str(), run_linear, &linear, type, n, shape[0], shape[1])->UseRealTime();
      }
    }
  }
  for (const auto type : kTypes) {
    const std::string name(info(type).name);
    const std::int64_t cols = 4096, rows = 16384;  // 36 to 268 MB
    benchmark::RegisterBenchmark(("decode_matrix/" + name).c_str(), run_linear, &linear, type, 1, cols, rows)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("decode_matrix_q8/" + name).c_str(), run_linear, &linear_q8, type, 1, cols, rows)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("dequantize/" + name).c_str(), dequantize_panel, type)->UseRealTime();
    if (info(type).block_size > 32) continue;
    benchmark::RegisterBenchmark(("decode_smollm2/" + name).c_str(), decode_step, &linear, type)->UseRealTime();
    benchmark::RegisterBenchmark(("decode_smollm2_q8/" + name).c_str(), decode_step, &linear_q8, type)->UseRealTime();
  }
  benchmark::RegisterBenchmark("gated_silu/rows", elementwise_silu)->Arg(1)->Arg(512)->UseRealTime();
  benchmark::RegisterBenchmark("rms_norm/rows", elementwise_rms_norm)->Arg(1)->Arg(512)->UseRealTime();
}

}  // namespace
}  // namespace headlight::kernels

int main(int argc, char** argv) {
  headlight::kernels::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
