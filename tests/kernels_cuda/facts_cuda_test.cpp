// What a capture records beside attention, on the device against plain float64 definitions. Skipped, by name, without a
// device.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "kernels_cuda/cuda_facts.h"

#include "base/dtype.h"
#include "tests/kernels_cuda/device_case.h"

namespace headlight::cuda {
namespace {

using testing::DeviceMemory;

class CudaFactKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    const CudaKernels* table = testing::usable_table(why);
    if (table == nullptr) GTEST_SKIP() << why;
    stream_ = table->open_stream(0);
  }
  void TearDown() override {
    if (stream_.handle != nullptr) cuda_kernels()->close_stream(stream_);
  }

  std::vector<float> normal_values(std::int64_t count, float spread = 1.0f) {
    std::normal_distribution<float> normal(0.0f, spread);
    std::vector<float> out(static_cast<std::size_t>(count));
    for (float& x : out) x = normal(random_);
    return out;
  }
  template <class T>
  DeviceMemory on_device(const std::vector<T>& values) const {
    return DeviceMemory(stream_, values.data(), values.size() * sizeof(T));
  }
  DeviceMemory poisoned(std::int64_t words) const {
    return DeviceMemory(stream_, static_cast<std::size_t>(words) * 4, 0xff);
  }
  template <class T>
  static std::vector<T> read(const DeviceMemory& memory, std::int64_t count) {
    std::vector<T> out(static_cast<std::size_t>(count));
    memory.read(out.data(), out.size() * sizeof(T));
    return out;
  }

  static std::vector<std::uint16_t> narrowed(DType dtype, std::vector<float>& values) {
    std::vector<std::uint16_t> bits;
    for (float& x : values) {
      bits.push_back(dtype == DType::bf16 ? f32_to_bf16(x) : f32_to_f16(x));
      x = dtype == DType::bf16 ? bf16_to_f32(bits.back()) : f16_to_f32(bits.back());
    }
    return bits;
  }

  const FactKernels& facts_ = *fact_kernels();
  Stream stream_;
  std::mt19937 random_{20261127};
};

TEST_F(CudaFactKernels, FactsOfHiddenStates) {
  for (const auto& [n, d] : {std::pair{1, 8}, std::pair{3, 40}, std::pair{65, 576}, std::pair{7, 4096}}) {
    std::vector<float> x = normal_values(std::int64_t{n} * d, 3.0f);
    x[static_cast<std::size_t>(d) / 2] = -50.0f;  // ties: the smaller index counts
    x[static_cast<std::size_t>(d) / 2 + 1] = 50.0f;
    const DeviceMemory states = on_device(x), arrays = poisoned(6 * n), largest(stream_, 4, 0);
    float* out = arrays.as<float>();
    facts_.hidden(stream_, {.x_id = states.as<float>(),
                            .n = n,
                            .d = d,
                            .first_d = states.as<float>(),
                            .norm_l2 = out,
                            .absmax = out + n,
                            .mean = out + 2 * n,
                            .rms = out + 3 * n,
                            .cos_first = out + 4 * n,
                            .absmax_dim = reinterpret_cast<std::int32_t*>(out + 5 * n),
                            .largest = largest.as<float>()});
    const auto found = read<float>(arrays, 6 * n);
    const auto dims = read<std::int32_t>(arrays, 6 * n);
    EXPECT_FLOAT_EQ(read<float>(largest, 1)[0], 50.0f);
    double first_norm = 0;
    for (int e = 0; e < d; ++e) first_norm += double{x[e]} * double{x[e]};
    for (int i = 0; i < n; ++i) {
      const float* row = x.data() + i * d;
      double square = 0, sum = 0, dot = 0;
      int at = 0;
      for (int e = 0; e < d; ++e) {
        square += double{row[e]} * double{row[e]};
        sum += double{row[e]};
        dot += double{row[e]} * double{x[e]};
        if (std::abs(row[e]) > std::abs(row[at])) at = e;
      }
      const double norm = std::sqrt(square), scale = norm / d;
      EXPECT_NEAR(found[i], norm, 1e-5 * norm);
      EXPECT_EQ(found[n + i], std::abs(row[at]));
      EXPECT_NEAR(found[2 * n + i], sum / d, 1e-5 * scale * std::sqrt(d));
      EXPECT_NEAR(found[3 * n + i], std::sqrt(square / d), 1e-5 * norm);
      EXPECT_NEAR(found[4 * n + i], dot / norm / std::sqrt(first_norm), 1e-5);
      EXPECT_EQ(dims[5 * n + i], at);
    }
  }
}

TEST_F(CudaFactKernels, MedianIsExactAndOnlyWhereItIsWanted) {
  for (const std::int64_t count : {4, 8, 256, 4096, 100004}) {
    const std::vector<float> x = normal_values(count);
    std::vector<float> magnitudes;
    for (const float value : x) magnitudes.push_back(std::abs(value));
    const auto middle = magnitudes.begin() + (count - 1) / 2;
    std::nth_element(magnitudes.begin(), middle, magnitudes.end());
    const DeviceMemory values = on_device(x), scratch(stream_, facts_.median_scratch_bytes(), 0xff),
                       median = poisoned(1);
    const DeviceMemory largest = on_device(std::vector<float>{10.0f});
    MedianCall call{.x = values.as<float>(),
                    .count = count,
                    .largest = largest.as<float>(),
                    .scratch = scratch.as<void>(),
                    .median = median.as<float>()};
    facts_.median(stream_, call);
    EXPECT_EQ(read<float>(median, 1)[0], *middle) << count;
    call.only_above = 10.0f;
    facts_.median(stream_, call);
    EXPECT_TRUE(std::isinf(read<float>(median, 1)[0])) << count;
  }
}

TEST_F(CudaFactKernels, MassiveEntriesAreFoundAndCounted) {
  constexpr std::int64_t kRows = 50, kDim = 96;
  std::vector<float> x = normal_values(kRows * kDim, 0.05f), absmax;
  x[3 * kDim + 7] = 500.0f;
  x[3 * kDim + 9] = -300.0f;
  x[49 * kDim + 95] = 101.0f;
  x[20 * kDim] = 99.0f;  // not above 100
  for (std::int64_t i = 0; i < kRows; ++i) {
    float most = 0.0f;
    for (std::int64_t e = 0; e < kDim; ++e) most = std::max(most, std::abs(x[static_cast<std::size_t>(i * kDim + e)]));
    absmax.push_back(most);
  }
  const DeviceMemory states = on_device(x), tops = on_device(absmax), median = on_device(std::vector<float>{0.1f});
  const DeviceMemory entries = poisoned(3 * 8), found(stream_, 4, 0);
  MassiveCall call{.x_id = states.as<float>(),
                   .n = kRows,
                   .d = kDim,
                   .absmax = tops.as<float>(),
                   .median = median.as<float>(),
                   .absolute = 100.0f,
                   .over_median = 1000.0f,
                   .entries = entries.as<MassiveEntry>(),
                   .capacity = 8,
                   .found = found.as<std::int32_t>()};
  facts_.massive(stream_, call);
  ASSERT_EQ(read<std::int32_t>(found, 1)[0], 3);
  auto list = read<MassiveEntry>(entries, 3);
  std::sort(list.begin(), list.end(), [](auto a, auto b) { return std::pair(a.row, a.dim) < std::pair(b.row, b.dim); });
  EXPECT_EQ(list[0].row, 3);
  EXPECT_EQ(list[0].dim, 7);
  EXPECT_EQ(list[0].value, 500.0f);
  EXPECT_EQ(list[1].value, -300.0f);
  EXPECT_EQ(list[2].row, 49);
  call.capacity = 1;  // counted beyond what fits
  facts_.massive(stream_, call);
  EXPECT_EQ(read<std::int32_t>(found, 1)[0], 6);
}

TEST_F(CudaFactKernels, NormsOfHeads) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int dim : {8, 64, 80, 128, 256}) {
      constexpr int kHeads = 3, kRows = 37, kCapacity = 40;
      std::vector<float> x = normal_values(kHeads * kCapacity * dim);
      const DeviceMemory bits = on_device(narrowed(dtype, x)), out = poisoned(kHeads * kRows);
      facts_.head_norms(stream_, {.dtype = dtype,
                                  .x = bits.as<void>(),
                                  .n = kRows,
                                  .head_stride = kCapacity * dim,
                                  .num_heads = kHeads,
                                  .head_dim = dim,
                                  .out = out.as<float>(),
                                  .out_stride = kRows});
      const auto found = read<float>(out, kHeads * kRows);
      for (int g = 0; g < kHeads; ++g)
        for (int i = 0; i < kRows; ++i) {
          double square = 0;
          for (int e = 0; e < dim; ++e) square += std::pow(double{x[(g * kCapacity + i) * dim + e]}, 2);
          EXPECT_NEAR(found[g * kRows + i], std::sqrt(square), 1e-5 * std::sqrt(square)) << dim;
        }
    }
}

TEST_F(CudaFactKernels, WhatAHeadWritesPerUnitOfAttention) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int dim : {16, 64, 80, 128}) {
      constexpr int kHeads = 4, kGroups = 2, kRows = 70, kWidth = 96;
      std::vector<float> w = normal_values(std::int64_t{kWidth} * kHeads * dim, 0.05f),
                         v = normal_values(std::int64_t{kGroups} * kRows * dim);
      const DeviceMemory weights = on_device(narrowed(dtype, w)), values = on_device(narrowed(dtype, v));
      const int padded = facts_.padded_head_dim(dim);
      const DeviceMemory scratch = poisoned(kHeads * padded * padded), scale = poisoned(kHeads),
                         parts = poisoned(kHeads * padded * padded), out = poisoned(kHeads * kRows);
      facts_.gram(stream_, {.dtype = dtype,
                            .w = weights.as<void>(),
                            .rows = kWidth,
                            .num_heads = kHeads,
                            .head_dim = dim,
                            .scratch = scratch.as<float>(),
                            .parts = parts.as<void>(),
                            .scale_h = scale.as<float>()});
      facts_.value_norms(stream_, {.dtype = dtype,
                                   .v = values.as<void>(),
                                   .n = kRows,
                                   .head_stride = kRows * dim,
                                   .num_heads = kHeads,
                                   .num_kv_heads = kGroups,
                                   .head_dim = dim,
                                   .parts = parts.as<void>(),
                                   .scale_h = scale.as<float>(),
                                   .out = out.as<float>(),
                                   .out_stride = kRows});
      const auto found = read<float>(out, kHeads * kRows);
      for (int h = 0; h < kHeads; ++h)
        for (int i = 0; i < kRows; ++i) {
          double square = 0;
          for (int r = 0; r < kWidth; ++r) {
            double u = 0;
            for (int e = 0; e < dim; ++e)
              u += double{w[(r * kHeads + h) * dim + e]} * double{v[(h / 2 * kRows + i) * dim + e]};
            square += u * u;
          }
          EXPECT_NEAR(found[h * kRows + i], std::sqrt(square), 2e-4 * std::sqrt(square)) << dim << " " << h;
        }
    }
}

TEST_F(CudaFactKernels, LargestEntriesOfRows) {
  constexpr int kRows = 9, kKeys = 1500, kTop = 32;
  std::vector<float> attn(kRows * kKeys);
  std::uniform_int_distribution<int> level(0, 300);  // many ties
  for (float& x : attn) x = static_cast<float>(level(random_)) / 64.0f;
  const std::vector<KeySpan> visible = {{0, kKeys}, {0, 1},   {0, 31},    {5, 37},     {700, 1500},
                                        {1, 1500},  {9, 777}, {100, 100}, {1499, 1500}};
  const DeviceMemory maps = on_device(attn), spans = on_device(visible), keys = poisoned(kRows * kTop),
                     values = poisoned(kRows * kTop), remainders = poisoned(kRows);
  facts_.topk(stream_, {.attn = maps.as<float>(),
                        .num_rows = kRows,
                        .num_keys = kKeys,
                        .visible = spans.as<KeySpan>(),
                        .k = kTop,
                        .keys = keys.as<std::int32_t>(),
                        .values = values.as<float>(),
                        .remainder = remainders.as<float>()});
  const auto found_keys = read<std::int32_t>(keys, kRows * kTop);
  const auto found_values = read<float>(values, kRows * kTop), found_rest = read<float>(remainders, kRows);
  for (int r = 0; r < kRows; ++r) {
    std::vector<int> order(static_cast<std::size_t>(visible[r].end - visible[r].begin));
    std::iota(order.begin(), order.end(), visible[r].begin);
    const float* row = attn.data() + r * kKeys;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
    const std::size_t kept = std::min<std::size_t>(kTop, order.size());
    double rest = 0;
    for (std::size_t k = kept; k < order.size(); ++k) rest += double{row[order[k]]};
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
    for (std::size_t k = 0; k < kept; ++k) {
      ASSERT_EQ(found_keys[r * kTop + k], order[k]) << r << " " << k;
      ASSERT_EQ(found_values[r * kTop + k], row[order[k]]) << r << " " << k;
    }
    EXPECT_NEAR(found_rest[r], rest, 1e-5 * rest + 1e-6) << r;
  }
}

}  // namespace
}  // namespace headlight::cuda
