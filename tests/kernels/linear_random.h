#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu_tier.h"
#include "kernels/dequantize.h"
#include "kernels/linear.h"

namespace headlight::kernels::testing {

constexpr TensorType kAllTypes[] = {TensorType::f32,  TensorType::f16,    TensorType::bf16,  TensorType::q4_0,
                                    TensorType::q4_1, TensorType::q5_0,   TensorType::q5_1,  TensorType::q8_0,
                                    TensorType::q2_k, TensorType::q3_k,   TensorType::q4_k,  TensorType::q5_k,
                                    TensorType::q6_k, TensorType::iq4_nl, TensorType::iq4_xs};

/// Byte offsets of the half-precision fields of a block; -1 = none.
struct HalfFields {
  int scale = -1, minimum = -1;
};

inline HalfFields half_fields(TensorType type) {
  switch (type) {
    case TensorType::q4_1:
    case TensorType::q5_1:
    case TensorType::q4_k:
    case TensorType::q5_k:
      return {0, 2};
    case TensorType::q2_k:
      return {80, 82};
    case TensorType::q3_k:
      return {108, -1};
    case TensorType::q6_k:
      return {208, -1};
    case TensorType::f32:
    case TensorType::f16:
    case TensorType::bf16:
      return {};
    default:
      return {0, -1};
  }
}

inline std::vector<float> random_values(std::size_t count, std::mt19937& random, float spread = 1.0f) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

/// A stored matrix with random codes and scales of a size that real models have.
inline std::vector<std::byte> random_matrix(TensorType type, std::int64_t rows, std::int64_t cols,
                                            std::mt19937& random) {
  const auto& facts = info(type);
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows) * row_bytes(type, cols));
  if (facts.block_size == 1) {
    const auto values = random_values(static_cast<std::size_t>(rows * cols), random, 0.05f);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t half = type == TensorType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      if (type == TensorType::f32)
        std::memcpy(&bytes[4 * i], &values[i], 4);
      else
        std::memcpy(&bytes[2 * i], &half, 2);
    }
    return bytes;
  }
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  std::uniform_real_distribution<float> scale(0.001f, 0.02f);
  const HalfFields fields = half_fields(type);
  for (std::size_t b = 0; b < bytes.size(); b += facts.block_bytes) {
    const std::uint16_t d = f32_to_f16(scale(random) * ((random() & 1u) ? 1.0f : -1.0f));
    const std::uint16_t m = f32_to_f16(scale(random) * ((random() & 1u) ? 1.0f : -1.0f));
    if (fields.scale >= 0) std::memcpy(&bytes[b + static_cast<std::size_t>(fields.scale)], &d, 2);
    if (fields.minimum >= 0) std::memcpy(&bytes[b + static_cast<std::size_t>(fields.minimum)], &m, 2);
  }
  return bytes;
}

inline std::vector<float> dequantize_reference(const MatrixView& w) {
  std::vector<float> out(static_cast<std::size_t>(w.rows * w.cols));
  const auto bytes = row_bytes(w.type, w.cols);
  const auto cols = static_cast<std::size_t>(w.cols);
  for (std::size_t r = 0; r < static_cast<std::size_t>(w.rows); ++r)
    dequantize_row(w.type, w.data + r * bytes, {out.data() + r * cols, cols});
  return out;
}

/// Forces a tier for the life of the object.
class ForcedTier {
 public:
  explicit ForcedTier(CpuTier tier) : saved_(active_cpu_tier()) { set_cpu_tier(tier); }
  ForcedTier(const ForcedTier&) = delete;
  ForcedTier& operator=(const ForcedTier&) = delete;
  ~ForcedTier() { set_cpu_tier(saved_); }

 private:
  CpuTier saved_;
};

}  // namespace headlight::kernels::testing
