// Attention of one layer on a CUDA device: plain forward, forward with row statistics, the second pass (columns and
// block map), and both. Prints one JSON line per measurement.
//     headlight_cuda_attention_bench [H G D N]...     default: the shapes of RESULTS.md
//
// A time is the median over 20 samples; a sample is the wall time of as many calls in a row as take about 5 ms, on
// three sets of random bf16 operands in turns. TFLOP/s counts 4 H D for every visible pair in the forward, 2 H D in the
// second pass.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kernels_cuda/cuda_kernels.h"

#include "base/error.h"
#include "core/capture/capture_plan.h"

namespace {

using namespace headlight;
using namespace headlight::cuda;

constexpr int kSamples = 20, kSets = 3;

struct Shape {
  int num_heads, num_kv_heads, head_dim;
  std::int64_t num_rows;
};

/// One layer's operands and everything that is measured, in device memory.
class Layer {
 public:
  Layer(const CudaKernels& table, Stream stream, const Shape& shape, unsigned seed)
      : table_(table), stream_(stream), rows_(shape.num_rows) {
    const std::int64_t h = shape.num_heads, g = shape.num_kv_heads, d = shape.head_dim;
    in_.num_queries = in_.num_keys = rows_;
    in_.num_heads = shape.num_heads;
    in_.num_kv_heads = shape.num_kv_heads;
    in_.head_dim = shape.head_dim;
    in_.q_ihd = random(rows_ * h * d, seed);
    in_.k_gjd = random(rows_ * g * d, seed + 1);
    in_.v_gjd = random(rows_ * g * d, seed + 2);
    in_.q_stride = h * d;
    in_.kv_stride = rows_ * d;
    in_.kv_row_stride = d;
    in_.scale = 1.0f / std::sqrt(static_cast<float>(d));
    out_ = allocate(rows_ * h * d * 2);
    plan_.tail_rows = {rows_ - 32, rows_};
    plan_.block_edge = capture::overview_block_edge(rows_);
    to_.row_stride = to_.col_stride = rows_;
    for (float** array :
         {&to_.lse_hi, &to_.entropy_hi, &to_.pmax_hi, &to_.first_hi, &to_.sink_hi, &to_.local_hi, &to_.dist1_hi,
          &to_.dist2_hi, &to_.off0_hi, &to_.off1_hi, &to_.null_mass_hi, &to_.received_hj, &to_.received_tail_hj})
      *array = static_cast<float*>(allocate(h * rows_ * 4));
    to_.jmax_hi = static_cast<std::int32_t*>(allocate(h * rows_ * 4));
    to_.block_count = (rows_ + plan_.block_edge - 1) / plan_.block_edge;
    to_.block_sum = static_cast<float*>(allocate(h * to_.block_count * to_.block_count * 4));
    to_.block_max = static_cast<float*>(allocate(h * to_.block_count * to_.block_count * 4));
    workspace_ = allocate(static_cast<std::int64_t>(table.attention_workspace_bytes(in_, plan_)));
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  ~Layer() {
    for (void* memory : memory_) table_.release(stream_, memory);
  }

  void plain() {
    table_.attention(stream_, in_, out_, in_.q_stride, nullptr, nullptr, nullptr, AttentionTier::automatic);
  }
  void rows() { table_.attention_rows(stream_, in_, out_, in_.q_stride, plan_, to_, AttentionTier::automatic); }
  void columns() { table_.attention_columns(stream_, in_, plan_, to_, workspace_, AttentionTier::automatic); }

 private:
  void* allocate(std::int64_t bytes) {
    memory_.push_back(table_.allocate(stream_, static_cast<std::size_t>(bytes)));
    table_.fill(stream_, memory_.back(), 0, static_cast<std::size_t>(bytes));
    return memory_.back();
  }
  void* random(std::int64_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> some(1 << 20), values(static_cast<std::size_t>(count));
    for (auto& x : some) x = f32_to_bf16(normal(generator));
    for (std::size_t k = 0; k < values.size();
         k += some.size())  // blocks of it, shifted: drawing all would take minutes
      std::copy_n(some.begin(), std::min(some.size(), values.size() - k),
                  values.begin() + static_cast<std::ptrdiff_t>(k));
    std::rotate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(seed * 977 % values.size()), values.end());
    void* memory = allocate(count * 2);
    table_.copy_in(stream_, memory, values.data(), values.size() * 2);
    table_.synchronize(stream_);
    return memory;
  }

  const CudaKernels& table_;
  Stream stream_;
  std::int64_t rows_;
  AttentionInputs in_;
  kernels::AttentionStatisticsPlan plan_;
  kernels::AttentionStatistics to_;
  void *out_ = nullptr, *workspace_ = nullptr;
  std::vector<void*> memory_;
};

struct Time {
  double median_ms, spread;  ///< spread: (75 % - 25 % quantile) / median
};

Time time_of(const CudaKernels& table, Stream stream, const std::function<void(int)>& call) {
  const auto seconds = [&](int calls) {
    table.synchronize(stream);
    const auto begin = std::chrono::steady_clock::now();
    for (int c = 0; c < calls; ++c) call(c % kSets);
    table.synchronize(stream);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  seconds(kSets);
  const int calls = std::clamp(static_cast<int>(5e-3 / seconds(1)), 1, 100);
  std::vector<double> samples;
  for (int k = 0; k < kSamples; ++k) samples.push_back(seconds(calls) / calls * 1e3);
  std::sort(samples.begin(), samples.end());
  const double median = samples[kSamples / 2];
  return {median, (samples[kSamples * 3 / 4] - samples[kSamples / 4]) / median};
}

void measure(const CudaKernels& table, Stream stream, const std::string& device, const Shape& shape) {
  std::vector<std::unique_ptr<Layer>> sets;
  for (unsigned k = 0; k < kSets; ++k) sets.push_back(std::make_unique<Layer>(table, stream, shape, 10 * k + 1));
  const auto n = static_cast<double>(shape.num_rows);
  const double pairs = n * (n + 1) / 2 * shape.num_heads * shape.head_dim;
  const auto report = [&](const char* what, double flop, const std::function<void(Layer&)>& run) {
    const Time time = time_of(table, stream, [&](int set) { run(*sets[static_cast<std::size_t>(set)]); });
    fmt::print(
        "{{\"kernel\": \"{}\", \"device\": \"{}\", \"H\": {}, \"Hkv\": {}, \"D\": {}, \"N\": {}, \"ms\": {:.4f}, "
        "\"tflop_per_s\": {:.1f}, \"spread\": {:.3f}}}\n",
        what, device, shape.num_heads, shape.num_kv_heads, shape.head_dim, shape.num_rows, time.median_ms,
        flop / time.median_ms * 1e-9, time.spread);
    std::fflush(stdout);
  };
  report("plain", 4 * pairs, [](Layer& layer) { layer.plain(); });
  report("rows", 4 * pairs, [](Layer& layer) { layer.rows(); });
  report("columns+blocks", 2 * pairs, [](Layer& layer) { layer.columns(); });
  report("rows+columns+blocks", 6 * pairs, [](Layer& layer) {
    layer.rows();
    layer.columns();
  });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::string why;
    const CudaKernels* table = cuda_kernels();
    const auto devices = table == nullptr ? std::vector<DeviceInfo>() : table->devices(why);
    if (devices.empty()) throw Error(Errc::unsupported, table == nullptr ? "this build has no CUDA support" : why);
    std::vector<Shape> shapes;
    for (int a = 1; a + 3 < argc; a += 4)
      shapes.push_back({std::atoi(argv[a]), std::atoi(argv[a + 1]), std::atoi(argv[a + 2]), std::atoll(argv[a + 3])});
    if (shapes.empty())
      for (const std::int64_t n : {4096, 8192, 16384, 32768})
        for (const auto& [heads, kv_heads, dim] : {std::tuple{32, 32, 128}, {32, 8, 128}, {32, 32, 64}})
          shapes.push_back({heads, kv_heads, dim, n});
    const Stream stream = table->open_stream(0);
    for (const Shape& shape : shapes) measure(*table, stream, devices[0].name, shape);
    table->close_stream(stream);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return exit_code(error.code());
  }
}
