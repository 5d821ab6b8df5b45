#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace headlight::capture::hdf5 {

/// Filters of a dataset in the order they are applied: shuffle (bytes of equal significance together), then deflate.
struct FilterSet {
  bool shuffle = false, deflate = false;
};

/// A chunk as it lies in the file. Bit n of `mask` = filter n was left out for this chunk.
struct EncodedChunk {
  std::vector<std::byte> bytes;
  std::uint32_t mask = 0;
};

/// Level 1 deflate; left out where it would not make the chunk smaller. Thread-safe.
EncodedChunk encode_chunk(std::vector<std::byte> raw, std::size_t element_bytes, const FilterSet& filters);

/// Undoes the filters into `out`, which has the size of a whole chunk; never produces a byte more.
/// @return false  the bytes are not what these filters make of a chunk of this size
bool decode_chunk(std::span<const std::byte> stored, std::uint32_t mask, std::size_t element_bytes,
                  const FilterSet& filters, std::span<std::byte> out);

/// CRC-32 of ISO 3309 (zlib, gzip, PNG), continued from `crc`; start with 0.
std::uint32_t crc32(std::uint32_t crc, std::span<const std::byte> bytes);

}  // namespace headlight::capture::hdf5
