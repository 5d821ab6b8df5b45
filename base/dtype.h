#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace headlight {

/// Element types of activations, caches and stored tensors (weights have their own block types: formats/tensor_type.h).
enum class DType : std::uint8_t { f32, f16, bf16 };

std::size_t size_of(DType type);         ///< bytes per element
std::string_view to_string(DType type);  ///< "f32", "f16", "bf16"

/// bfloat16 bits to float: exact.
inline float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// float to bfloat16, round to nearest even; NaN stays NaN.
inline std::uint16_t f32_to_bf16(float value) {
  const auto u = std::bit_cast<std::uint32_t>(value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float f16_to_f32(std::uint16_t bits);   ///< IEEE half to float: exact, subnormals included
std::uint16_t f32_to_f16(float value);  ///< round to nearest even; overflow becomes infinity

}  // namespace headlight
