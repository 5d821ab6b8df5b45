#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/capture_hdf5/hdf5_base.h"

namespace headlight::capture::hdf5 {

/// Types of stored numbers, all little-endian. f16, bf16 and log8 are written from floats, the others from themselves.
enum class Element : std::uint8_t {
  u8,
  i16,
  i32,
  i64,
  f16,   ///< IEEE half
  bf16,  ///< bits in an unsigned 16-bit integer, attribute encoding = "bfloat16"
  log8,  ///< 8-bit logarithmic code of a probability
  f32,
  f64,
  text,  ///< fixed-length UTF-8, zero-padded
};

/// Bytes of an element in the file (not of `text`, whose length each dataset has).
std::size_t stored_bytes(Element element);
/// Bytes of an element in memory before conversion.
std::size_t source_bytes(Element element);

/// Type in the file and of raw chunks in memory; owned by the library for ever.
hid_t library_type(Element element);
/// Fixed-length UTF-8 string type.
Handle text_type(std::size_t size);
/// Texts as fields of `width` bytes, padded with NUL; longer ones are cut between characters.
std::string pack_texts(std::span<const std::string> texts, std::size_t width);

/// `count` elements from `source` (distance `stride` elements) to tightly packed stored form.
void convert_elements(Element element, const void* source, std::ptrdiff_t stride, std::size_t count, std::byte* out);
/// One stored element that holds `value` (integers: rounded).
void convert_value(Element element, double value, std::byte* out);

/// Stored elements to floats; a 16-bit or 8-bit code is decoded, integers are converted.
void widen_elements(Element element, const std::byte* stored, std::size_t count, float* out);

}  // namespace headlight::capture::hdf5
