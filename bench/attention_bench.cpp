// Attention of one layer, plain and with row and column statistics, f32 and causal. Every benchmark is single-threaded
// unless its name says otherwise. GFLOP/s counts 4 D multiply-adds halves per visible pair: 2 D for q.k and 2 D for
// p.v.

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/attention.h"

namespace {

using namespace headlight;
using namespace headlight::kernels;

struct Shape {
  int num_heads, num_kv_heads, head_dim;
};
constexpr Shape kSmol{9, 3, 64}, kLlama{32, 8, 128};

std::vector<float> random_values(std::size_t size) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& x : values) x = normal(random);
  return values;
}

class Layer {
 public:
  Layer(Shape shape, std::int64_t num_queries, std::int64_t num_keys)
      : rows_(num_queries),
        q_(random_values(static_cast<std::size_t>(num_queries * shape.num_heads * shape.head_dim))),
        k_(random_values(static_cast<std::size_t>(num_keys * shape.num_kv_heads * shape.head_dim))),
        v_(random_values(k_.size())),
        out_(q_.size()) {
    in_.num_queries = num_queries;
    in_.num_keys = num_keys;
    in_.query_start = num_keys - num_queries;
    in_.num_heads = shape.num_heads;
    in_.num_kv_heads = shape.num_kv_heads;
    in_.head_dim = shape.head_dim;
    in_.q_ihd = q_.data();
    in_.q_stride = std::int64_t{shape.num_heads} * shape.head_dim;
    in_.k_gjd = k_.data();
    in_.v_gjd = v_.data();
    in_.kv_stride = num_keys * shape.head_dim;
    in_.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    place_statistics(shape.num_heads, num_queries, num_keys);
  }

  void block_map(std::int64_t edge) {
    plan_.block_edge = edge;
    to_.block_count = (in_.num_keys + edge - 1) / edge;
    blocks_.assign(static_cast<std::size_t>(2 * in_.num_heads * to_.block_count * to_.block_count), 0.0f);
    to_.block_sum = blocks_.data();
    to_.block_max = blocks_.data() + blocks_.size() / 2;
  }

  void run(ThreadPool& pool, bool statistics) {
    attention(pool, workspace_, in_, out_.data(), in_.q_stride, statistics ? &plan_ : nullptr,
              statistics ? &to_ : nullptr);
    benchmark::DoNotOptimize(out_.data());
  }

  double flop() const {
    double pairs = 0;
    for (std::int64_t i = 0; i < rows_; ++i) pairs += static_cast<double>(in_.query_start + i + 1);
    return 4.0 * pairs * in_.num_heads * in_.head_dim;
  }

 private:
  void place_statistics(std::int64_t heads, std::int64_t num_queries, std::int64_t num_keys) {
    floats_.resize(static_cast<std::size_t>(11 * heads * num_queries + 2 * heads * num_keys));
    jmax_.resize(static_cast<std::size_t>(heads * num_queries));
    float* next = floats_.data();
    for (float** target : {&to_.lse_hi, &to_.entropy_hi, &to_.pmax_hi, &to_.first_hi, &to_.sink_hi, &to_.local_hi,
                           &to_.dist1_hi, &to_.dist2_hi, &to_.off0_hi, &to_.off1_hi, &to_.null_mass_hi}) {
      *target = next;
      next += heads * num_queries;
    }
    to_.received_hj = next;
    to_.received_tail_hj = next + heads * num_keys;
    to_.jmax_hi = jmax_.data();
    to_.row_stride = num_queries;
    to_.col_stride = num_keys;
    plan_.tail_rows = {num_keys - 32, num_keys};
  }

  std::int64_t rows_;
  std::vector<float> q_, k_, v_, out_, floats_, blocks_;
  std::vector<std::int32_t> jmax_;
  AttentionInputs in_;
  AttentionStatisticsPlan plan_;
  AttentionStatistics to_;
  AttentionWorkspace workspace_;
};

enum class Measure { plain, statistics, blocks };

void run_layer(benchmark::State& state, Shape shape, std::int64_t queries, std::int64_t keys, Measure measure,
               int threads) {
  ThreadPool pool(threads);
  Layer layer(shape, queries, keys);
  if (measure == Measure::blocks) layer.block_map(std::max<std::int64_t>(1, keys / 256));
  for ([[maybe_unused]] auto _ : state) layer.run(pool, measure != Measure::plain);
  state.counters["GFLOP/s"] =
      benchmark::Counter(layer.flop() * static_cast<double>(state.iterations()) * 1e-9, benchmark::Counter::kIsRate);
}

void add(const std::string& name, Shape shape, std::int64_t queries, std::int64_t keys, int threads = 1) {
  const std::pair<const char*, Measure> measures[] = {
      {"plain", Measure::plain}, {"statistics", Measure::statistics}, {"statistics+blocks", Measure::blocks}};
  for (const auto& [label, measure] : measures)
    benchmark::RegisterBenchmark((name + "/" + label).c_str(), run_layer, shape, queries, keys, measure, threads)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const std::int64_t n : {512, 2048, 8192}) add("prefill/smollm2/" + std::to_string(n), kSmol, n, n);
  add("prefill/llama3-8b/2048", kLlama, 2048, 2048);
  add("prefill/smollm2/2048/threads:2", kSmol, 2048, 2048, 2);
  add("decode/smollm2/2048", kSmol, 1, 2048);
  add("decode/llama3-8b/8192", kLlama, 1, 8192);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
