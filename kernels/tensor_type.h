#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace headlight {

/// Storage types of weights. Values equal the ggml type ids of the GGUF file format.
enum class TensorType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;     ///< "Q4_1"
  std::uint32_t block_size;  ///< elements per block; a row is a whole number of blocks
  std::uint32_t block_bytes;
};

/// Facts of a type. Every enumerator has an entry.
const TensorTypeInfo& info(TensorType type);

/// Type of a ggml id, nullopt when we cannot compute with it (ggml_type_name() then still names it).
std::optional<TensorType> tensor_type_from_ggml(std::uint32_t ggml_type);

/// Name of any ggml type id that was ever published ("IQ2_XXS", "Q8_K", ...), or "unknown".
std::string_view ggml_type_name(std::uint32_t ggml_type);

/// Bytes of one row of `cols` elements; cols must be a multiple of the block size.
std::uint64_t row_bytes(TensorType type, std::int64_t cols);

}  // namespace headlight
