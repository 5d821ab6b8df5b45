#pragma once

#include <cstdint>

namespace headlight::formats {

/// Ids of metadata value types in a GGUF file.
enum GgufValueType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kNumValueTypes
};

}  // namespace headlight::formats
