#include "core/capture_hdf5/chunk_codec.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include <libdeflate.h>

namespace headlight::capture::hdf5 {
namespace {

constexpr int kLevel = 1;

struct FreeCompressor {
  void operator()(libdeflate_compressor* p) const { libdeflate_free_compressor(p); }
};
struct FreeDecompressor {
  void operator()(libdeflate_decompressor* p) const { libdeflate_free_decompressor(p); }
};

libdeflate_compressor* compressor() {
  thread_local const std::unique_ptr<libdeflate_compressor, FreeCompressor> own(libdeflate_alloc_compressor(kLevel));
  if (!own) throw std::bad_alloc();
  return own.get();
}

libdeflate_decompressor* decompressor() {
  thread_local const std::unique_ptr<libdeflate_decompressor, FreeDecompressor> own(libdeflate_alloc_decompressor());
  if (!own) throw std::bad_alloc();
  return own.get();
}

// [count][width] to [width][count]; bytes behind the last whole element stay where they are.
void shuffle(std::span<const std::byte> in, std::size_t width, std::byte* out) {
  const std::size_t count = in.size() / width;
  for (std::size_t b = 0; b < width; ++b)
    for (std::size_t i = 0; i < count; ++i) out[b * count + i] = in[i * width + b];
  std::copy(in.begin() + static_cast<std::ptrdiff_t>(count * width), in.end(), out + count * width);
}

void unshuffle(std::span<const std::byte> in, std::size_t width, std::byte* out) {
  const std::size_t count = in.size() / width;
  for (std::size_t b = 0; b < width; ++b)
    for (std::size_t i = 0; i < count; ++i) out[i * width + b] = in[b * count + i];
  std::copy(in.begin() + static_cast<std::ptrdiff_t>(count * width), in.end(), out + count * width);
}

}  // namespace

EncodedChunk encode_chunk(std::vector<std::byte> raw, std::size_t element_bytes, const FilterSet& filters) {
  EncodedChunk chunk{std::move(raw), 0};
  if (filters.shuffle) {
    std::vector<std::byte> shuffled(chunk.bytes.size());
    shuffle(chunk.bytes, element_bytes, shuffled.data());
    chunk.bytes = std::move(shuffled);
  }
  if (!filters.deflate) return chunk;
  std::vector<std::byte> packed(chunk.bytes.size());
  const std::size_t size =
      libdeflate_zlib_compress(compressor(), chunk.bytes.data(), chunk.bytes.size(), packed.data(), packed.size());
  if (size == 0 || size >= chunk.bytes.size()) {
    chunk.mask = filters.shuffle ? 2u : 1u;
    return chunk;
  }
  packed.resize(size);
  chunk.bytes = std::move(packed);
  return chunk;
}

bool decode_chunk(std::span<const std::byte> stored, std::uint32_t mask, std::size_t element_bytes,
                  const FilterSet& filters, std::span<std::byte> out) {
  const bool unshuffles = filters.shuffle && (mask & 1u) == 0;
  const bool inflates = filters.deflate && (mask & (filters.shuffle ? 2u : 1u)) == 0;
  std::vector<std::byte> shuffled(unshuffles ? out.size() : 0);
  const std::span<std::byte> inflated = unshuffles ? std::span(shuffled) : out;
  if (inflates) {
    std::size_t size = 0;
    if (libdeflate_zlib_decompress(decompressor(), stored.data(), stored.size(), inflated.data(), inflated.size(),
                                   &size) != LIBDEFLATE_SUCCESS ||
        size != inflated.size())
      return false;
  } else {
    if (stored.size() != inflated.size()) return false;
    std::copy(stored.begin(), stored.end(), inflated.begin());
  }
  if (unshuffles) unshuffle(shuffled, element_bytes, out.data());
  return true;
}

std::uint32_t crc32(std::uint32_t crc, std::span<const std::byte> bytes) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace headlight::capture::hdf5
