// Products, norms, rotation and activations on the device against their CPU twins. Skipped, by name, without a device.

#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels_cuda/cuda_dense.h"

#include "base/error.h"
#include "kernels/linear.h"
#include "tests/kernels_cuda/device_case.h"

namespace headlight::cuda {
namespace {

using kernels::ActivationKind;
using testing::DeviceMemory;

constexpr DType kNarrowTypes[] = {DType::bf16, DType::f16};

std::vector<float> random_values(std::int64_t count, float spread = 1.0f) {
  static std::mt19937 random(20261123);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& x : out) x = normal(random);
  return out;
}

std::vector<std::uint16_t> narrowed(DType dtype, const std::vector<float>& values) {
  std::vector<std::uint16_t> out;
  for (const float x : values) out.push_back(dtype == DType::bf16 ? f32_to_bf16(x) : f32_to_f16(x));
  return out;
}
std::vector<float> widened(DType dtype, const std::vector<std::uint16_t>& bits) {
  std::vector<float> out;
  for (const std::uint16_t x : bits) out.push_back(dtype == DType::bf16 ? bf16_to_f32(x) : f16_to_f32(x));
  return out;
}
std::vector<float> rounded(DType dtype, const std::vector<float>& values) {
  return dtype == DType::f32 ? values : widened(dtype, narrowed(dtype, values));
}

/// Half a step of rounding, relative.
float half_step(DType dtype) {
  return dtype == DType::bf16 ? 1.0f / 256 : dtype == DType::f16 ? 1.0f / 2048 : 0.0f;
}

/// Within one rounding to `dtype` and the given error of the arithmetic before it.
void expect_close(const std::vector<float>& found, const std::vector<float>& expected, DType dtype, float relative,
                  float absolute, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (std::size_t k = 0; k < found.size(); ++k) {
    const float limit = (half_step(dtype) + relative) * std::abs(expected[k]) + absolute;
    ASSERT_NEAR(found[k], expected[k], limit) << what << ", element " << k;
  }
}

class CudaDense : public ::testing::Test {
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

  DeviceMemory on_device(const std::vector<float>& values) const {
    return DeviceMemory(stream_, values.data(), values.size() * sizeof(float));
  }
  DeviceMemory on_device(const std::vector<std::uint16_t>& values) const {
    return DeviceMemory(stream_, values.data(), values.size() * sizeof(std::uint16_t));
  }
  /// Memory that holds NaN: every element must be written.
  DeviceMemory poisoned(std::int64_t count, DType dtype) const {
    return DeviceMemory(stream_, static_cast<std::size_t>(count) * size_of(dtype), 0xff);
  }
  static std::vector<float> read(const DeviceMemory& memory, DType dtype, std::int64_t count) {
    if (dtype == DType::f32) {
      std::vector<float> out(static_cast<std::size_t>(count));
      memory.read(out.data(), out.size() * sizeof(float));
      return out;
    }
    std::vector<std::uint16_t> bits(static_cast<std::size_t>(count));
    memory.read(bits.data(), bits.size() * sizeof(std::uint16_t));
    return widened(dtype, bits);
  }

  const DenseKernels& dense_ = *dense_kernels();
  Stream stream_;
  ThreadPool pool_{1};
};

class CudaMatmul : public CudaDense {
 protected:
  void SetUp() override {
    CudaDense::SetUp();
    if (!IsSkipped()) matmul_ = dense_.open_matmul(stream_);
  }
  void TearDown() override {
    if (matmul_ != nullptr) dense_.close_matmul(matmul_);
    CudaDense::TearDown();
  }

  struct Variant {
    DType y_dtype = DType::f32;
    bool bias = false, accumulate = false;
    std::int64_t gap = 0;  ///< elements between rows of x and of y
  };

  void check(std::int64_t n, std::int64_t rows, std::int64_t cols, DType dtype, const Variant& variant) {
    const std::int64_t x_stride = cols + variant.gap, y_stride = rows + variant.gap;
    const auto w = rounded(dtype, random_values(rows * cols, 1.0f / std::sqrt(static_cast<float>(cols))));
    const auto x = rounded(dtype, random_values(n * x_stride)), bias = random_values(rows);
    const auto old = random_values(n * y_stride);
    std::vector<float> expected = old;
    kernels::LinearWorkspace workspace;
    std::vector<float> product(static_cast<std::size_t>(n * y_stride));
    kernels::linear(pool_, workspace, {TensorType::f32, rows, cols, reinterpret_cast<const std::byte*>(w.data())},
                    x.data(), n, x_stride, product.data(), y_stride, variant.bias ? bias.data() : nullptr);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t o = 0; o < rows; ++o) {
        const auto at = static_cast<std::size_t>(i * y_stride + o);
        expected[at] = product[at] + (variant.accumulate ? old[at] : 0.0f);
      }
    const DeviceMemory dw = on_device(narrowed(dtype, w)), dx = on_device(narrowed(dtype, x)), db = on_device(bias);
    const bool wide = variant.y_dtype == DType::f32;
    const DeviceMemory dy = wide ? on_device(old) : on_device(narrowed(dtype, old));
    MatmulCall call;
    call.n = n;
    call.rows = rows;
    call.cols = cols;
    call.dtype = dtype;
    call.w = dw.as<void>();
    call.x = dx.as<void>();
    call.x_stride = x_stride;
    call.y = dy.as<void>();
    call.y_stride = y_stride;
    call.y_dtype = variant.y_dtype;
    call.bias = variant.bias ? db.as<float>() : nullptr;
    call.accumulate = variant.accumulate;
    dense_.matmul(matmul_, call);
    expect_close(read(dy, variant.y_dtype, n * y_stride), expected, variant.y_dtype, 1e-5f, 2e-5f,
                 "product " + std::to_string(n) + " x " + std::to_string(rows) + " x " + std::to_string(cols));
  }

  Matmul* matmul_ = nullptr;
};

TEST_F(CudaMatmul, MatchesTheCpu) {
  for (const DType dtype : kNarrowTypes)
    for (const std::int64_t n : {1, 2, 17, 128, 300}) {
      check(n, 64, 48, dtype, {});
      check(n, 576, 1536, dtype, {.bias = true});
      check(n, 200, 576, dtype, {.accumulate = true});
      check(n, 192, 576, dtype, {.bias = true, .accumulate = true, .gap = 8});
      check(n, 192, 64, dtype, {.y_dtype = dtype, .gap = 16});
    }
}

TEST_F(CudaMatmul, SameBitsEveryTime) {
  const std::int64_t n = 300, rows = 640, cols = 1024;
  const DeviceMemory w = on_device(narrowed(DType::bf16, random_values(rows * cols)));
  const DeviceMemory x = on_device(narrowed(DType::bf16, random_values(n * cols)));
  const DeviceMemory y = poisoned(n * rows, DType::f32);
  MatmulCall call;
  call.n = n;
  call.rows = call.y_stride = rows;
  call.cols = call.x_stride = cols;
  call.w = w.as<void>();
  call.x = x.as<void>();
  call.y = y.as<void>();
  dense_.matmul(matmul_, call);
  const auto first = read(y, DType::f32, n * rows);
  for (int repeat = 0; repeat < 50; ++repeat) {
    dense_.matmul(matmul_, call);
    ASSERT_EQ(read(y, DType::f32, n * rows), first) << "repeat " << repeat;
  }
}

TEST_F(CudaMatmul, RefusesWhatItCannotAdd) {
  MatmulCall call;
  call.n = call.rows = call.cols = call.x_stride = call.y_stride = 8;
  call.y_dtype = DType::bf16;
  call.accumulate = true;
  EXPECT_THROW(dense_.matmul(matmul_, call), Error);
  call.accumulate = false;
  call.y_dtype = DType::f16;
  EXPECT_THROW(dense_.matmul(matmul_, call), Error);
}

TEST_F(CudaDense, Norms) {
  for (const std::int64_t d : {8, 64, 576, 2880, 4096})
    for (const bool layer_norm : {false, true})
      for (const NormTarget target : {NormTarget::narrow, NormTarget::replace, NormTarget::add})
        for (const DType dtype : kNarrowTypes) {
          const std::int64_t n = 5;
          const DType y_dtype = target == NormTarget::narrow ? dtype : DType::f32;
          const auto x = random_values(n * d, 3.0f), weight = random_values(d), bias = random_values(d);
          const auto old = random_values(n * d);
          std::vector<float> expected(static_cast<std::size_t>(n * d));
          if (layer_norm)
            kernels::layer_norm(pool_, x.data(), expected.data(), n, d, weight.data(), bias.data(), 1e-5f);
          else
            kernels::rms_norm(pool_, x.data(), expected.data(), n, d, weight.data(), 1e-5f);
          if (target == NormTarget::add)
            for (std::size_t k = 0; k < expected.size(); ++k) expected[k] += old[k];
          const DeviceMemory dx = on_device(x), dw = on_device(weight), db = on_device(bias);
          const DeviceMemory dy = target == NormTarget::add ? on_device(old) : poisoned(n * d, y_dtype);
          dense_.normalize(stream_, {.layer_norm = layer_norm,
                                     .x = dx.as<float>(),
                                     .n = n,
                                     .d = d,
                                     .x_stride = d,
                                     .weight_d = dw.as<float>(),
                                     .bias_d = layer_norm ? db.as<float>() : nullptr,
                                     .eps = 1e-5f,
                                     .target = target,
                                     .dtype = dtype,
                                     .y = dy.as<void>(),
                                     .y_stride = d});
          expect_close(read(dy, y_dtype, n * d), expected, y_dtype, 4e-6f, 4e-6f, "norm of " + std::to_string(d));
        }
}

TEST_F(CudaDense, NormsOfPartsOfARow) {  // q and k of olmo2 lie beside each other
  const std::int64_t n = 7, d = 96, stride = 160;
  const auto x = random_values(n * stride), weight = random_values(d);
  std::vector<float> expected = x;
  for (std::int64_t i = 0; i < n; ++i)
    kernels::rms_norm(pool_, x.data() + i * stride, expected.data() + i * stride, 1, d, weight.data(), 1e-6f);
  const DeviceMemory dx = on_device(x), dw = on_device(weight);
  dense_.normalize(stream_, {.x = dx.as<float>(),
                             .n = n,
                             .d = d,
                             .x_stride = stride,
                             .weight_d = dw.as<float>(),
                             .target = NormTarget::replace,
                             .y = dx.as<void>(),
                             .y_stride = stride});
  expect_close(read(dx, DType::f32, n * stride), expected, DType::f32, 4e-6f, 4e-6f, "norm in place");
}

struct OperandsShape {
  int heads, kv_heads, dim, rotary;
  bool bias, norm;
};

TEST_F(CudaDense, OperandsOfAttention) {
  const OperandsShape shapes[] = {{9, 3, 64, 64, false, false},  {4, 2, 80, 32, true, false},
                                  {2, 1, 256, 256, false, true}, {3, 3, 96, 0, true, false},
                                  {14, 2, 128, 128, true, true}, {1, 1, 8, 4, false, true}};
  for (const OperandsShape& shape : shapes)
    for (const DType dtype : kNarrowTypes) {
      const std::int64_t n = 6, start = 3, capacity = 12, q = shape.heads * shape.dim, kv = shape.kv_heads * shape.dim;
      const std::int64_t width = q + 2 * kv;
      const auto qkv = random_values(n * width), bias = random_values(width), table = random_values(n * shape.rotary);
      const auto q_norm = random_values(shape.dim), k_norm = random_values(shape.dim);
      std::vector<float> twin = qkv;
      for (std::int64_t k = 0; k < n * width && shape.bias; ++k)
        twin[static_cast<std::size_t>(k)] += bias[static_cast<std::size_t>(k % width)];
      if (shape.norm) {
        kernels::rms_norm_heads(pool_, twin.data(), n, width, shape.heads, shape.dim, q_norm.data(), 1e-6f);
        kernels::rms_norm_heads(pool_, twin.data() + q, n, width, shape.kv_heads, shape.dim, k_norm.data(), 1e-6f);
      }
      if (shape.rotary > 0) {
        kernels::rope(pool_, twin.data(), n, width, shape.heads, shape.dim, shape.rotary, table.data());
        kernels::rope(pool_, twin.data() + q, n, width, shape.kv_heads, shape.dim, shape.rotary, table.data());
      }
      const DeviceMemory d_qkv = on_device(qkv), d_bias = on_device(bias), d_table = on_device(table);
      const DeviceMemory d_q_norm = on_device(q_norm), d_k_norm = on_device(k_norm);
      const DeviceMemory d_q = poisoned(n * q, dtype);
      const DeviceMemory d_k(stream_, static_cast<std::size_t>(kv * capacity * 2), 0);
      const DeviceMemory d_v(stream_, static_cast<std::size_t>(kv * capacity * 2), 0);
      dense_.operands(stream_, {.qkv = d_qkv.as<float>(),
                                .n = n,
                                .start = start,
                                .num_heads = shape.heads,
                                .num_kv_heads = shape.kv_heads,
                                .head_dim = shape.dim,
                                .rotary_dim = shape.rotary,
                                .bias = shape.bias ? d_bias.as<float>() : nullptr,
                                .q_norm_d = shape.norm ? d_q_norm.as<float>() : nullptr,
                                .k_norm_d = shape.norm ? d_k_norm.as<float>() : nullptr,
                                .cos_sin = d_table.as<float>(),
                                .dtype = dtype,
                                .q_ihd = d_q.as<void>(),
                                .k_gjd = d_k.as<void>(),
                                .v_gjd = d_v.as<void>(),
                                .kv_stride = capacity * shape.dim});
      // Rows before and behind the new ones stay as they were: 0.
      std::vector<float> expected_q, expected_k(static_cast<std::size_t>(kv * capacity)), expected_v = expected_k;
      for (std::int64_t i = 0; i < n; ++i) {
        const float* row = twin.data() + i * width;
        expected_q.insert(expected_q.end(), row, row + q);
        for (std::int64_t g = 0; g < shape.kv_heads; ++g)
          for (std::int64_t e = 0; e < shape.dim; ++e) {
            const auto at = static_cast<std::size_t>((g * capacity + start + i) * shape.dim + e);
            expected_k[at] = row[q + g * shape.dim + e];
            expected_v[at] = row[q + kv + g * shape.dim + e];
          }
      }
      const std::string what = "heads of " + std::to_string(shape.dim);
      expect_close(read(d_q, dtype, n * q), expected_q, dtype, 1e-6f, 2e-6f, what + ", q");
      expect_close(read(d_k, dtype, kv * capacity), expected_k, dtype, 1e-6f, 2e-6f, what + ", k");
      expect_close(read(d_v, dtype, kv * capacity), expected_v, dtype, 1e-6f, 2e-6f, what + ", v");
    }
}

TEST_F(CudaDense, Activations) {
  for (const auto kind : {ActivationKind::silu, ActivationKind::gelu_exact, ActivationKind::gelu_tanh,
                          ActivationKind::quick_gelu, ActivationKind::clamped_swiglu})
    for (const bool gated : {true, false})
      for (const bool biased : {true, false})
        for (const DType dtype : kNarrowTypes) {
          if (kind == ActivationKind::clamped_swiglu && !gated) continue;
          const std::int64_t n = 9, width = 72, in_width = gated ? 2 * width : width;
          const auto in = rounded(dtype, random_values(n * in_width, 4.0f)), bias = random_values(in_width);
          std::vector<float> expected;
          for (std::int64_t i = 0; i < n; ++i) {
            std::vector<float> row(in.begin() + i * in_width, in.begin() + (i + 1) * in_width);
            for (std::size_t e = 0; e < row.size() && biased; ++e) row[e] += bias[e];
            if (gated)
              kernels::gated_activation(pool_, kind, row.data(), row.data() + width, row.data(), width);
            else
              kernels::activation(pool_, kind, row.data(), width);
            expected.insert(expected.end(), row.begin(), row.begin() + width);
          }
          const DeviceMemory d_in = on_device(narrowed(dtype, in)), d_bias = on_device(bias);
          const DeviceMemory d_out = poisoned(n * width, dtype);
          dense_.activate(stream_, {.kind = kind,
                                    .gated = gated,
                                    .n = n,
                                    .width = width,
                                    .dtype = dtype,
                                    .in = d_in.as<void>(),
                                    .bias = biased ? d_bias.as<float>() : nullptr,
                                    .out = d_out.as<void>()});
          expect_close(read(d_out, dtype, n * width), expected, dtype, 4e-6f, 1e-5f,
                       "activation " + std::to_string(static_cast<int>(kind)));
        }
}

TEST_F(CudaDense, Embeddings) {
  for (const DType dtype : kNarrowTypes)
    for (const bool positions : {false, true}) {
      const std::int64_t vocab = 11, d = 24, n = 5, start = 2;
      const auto table = rounded(dtype, random_values(vocab * d)), places = rounded(dtype, random_values(8 * d));
      const std::vector<std::int32_t> ids = {10, 0, 3, 3, 7};
      std::vector<float> expected;
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t e = 0; e < d; ++e)
          expected.push_back(table[static_cast<std::size_t>(ids[static_cast<std::size_t>(i)] * d + e)] * 1.5f +
                             (positions ? places[static_cast<std::size_t>((start + i) * d + e)] : 0.0f));
      const DeviceMemory d_table = on_device(narrowed(dtype, table)), d_places = on_device(narrowed(dtype, places));
      const DeviceMemory d_ids(stream_, ids.data(), ids.size() * sizeof(std::int32_t));
      const DeviceMemory d_x = poisoned(n * d, DType::f32);
      dense_.embed(stream_, {.dtype = dtype,
                             .table_vd = d_table.as<void>(),
                             .positions_jd = positions ? d_places.as<void>() : nullptr,
                             .ids = d_ids.as<std::int32_t>(),
                             .n = n,
                             .d = d,
                             .start = start,
                             .scale = 1.5f,
                             .x_id = d_x.as<float>()});
      expect_close(read(d_x, DType::f32, n * d), expected, DType::f32, 1e-6f, 1e-6f, "embedding");
    }
}

TEST_F(CudaDense, RoundingAndSoftCap) {
  auto x = random_values(1000, 30.0f);
  x[5] = 7e4f;  // infinity in f16
  for (const DType dtype : kNarrowTypes) {
    const DeviceMemory d_x = on_device(x), d_y = poisoned(std::ssize(x), dtype);
    dense_.narrow(stream_, dtype, d_x.as<float>(), std::ssize(x), d_y.as<void>());
    EXPECT_EQ(read(d_y, dtype, std::ssize(x)), rounded(dtype, x));
  }
  std::vector<float> expected = x;
  kernels::soft_cap(pool_, expected.data(), 30.0f, std::ssize(expected));
  const DeviceMemory d_x = on_device(x);
  dense_.soft_cap(stream_, d_x.as<float>(), 30.0f, std::ssize(x));
  expect_close(read(d_x, DType::f32, std::ssize(x)), expected, DType::f32, 4e-6f, 1e-6f, "soft cap");
}

TEST_F(CudaDense, FindsTheFirstBadRow) {
  const std::int64_t n = 40, d = 600;
  const auto first_bad = [&](const std::vector<float>& x) {
    const DeviceMemory d_x = on_device(x);
    const int none = std::numeric_limits<int>::max();
    const DeviceMemory d_first(stream_, &none, sizeof none);
    dense_.find_nonfinite(stream_, d_x.as<float>(), n, d, 100, d_first.as<int>());
    int found = 0;
    d_first.read(&found, sizeof found);
    return found;
  };
  auto x = random_values(n * d, 1e30f);  // squares overflow: large is not bad
  EXPECT_EQ(first_bad(x), std::numeric_limits<int>::max());
  x[33 * d + 599] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_bad(x), 133);
  x[21 * d] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(first_bad(x), 121);
}

TEST_F(CudaDense, RefusesSizesThatItsLoadsDoNotFit) {
  EXPECT_THROW(dense_.normalize(stream_, {.n = 1, .d = 12}), Error);
  EXPECT_THROW(dense_.operands(stream_, {.n = 1, .num_heads = 1, .num_kv_heads = 1, .head_dim = 264}), Error);
  EXPECT_THROW(dense_.activate(stream_, {.n = 1, .width = 4}), Error);
}

}  // namespace
}  // namespace headlight::cuda
