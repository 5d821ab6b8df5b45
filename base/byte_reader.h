#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/error.h"

namespace headlight {

/// Bounds-checked little-endian reading of untrusted bytes. Every failure is Error{bad_format} that names the field
/// and the byte offset; nothing is read past the end.
class ByteReader {
 public:
  /// @param base  offset of bytes[0] inside the file, so that messages name file offsets
  explicit ByteReader(std::span<const std::byte> bytes, std::uint64_t base = 0) : bytes_(bytes), base_(base) {}

  std::uint64_t offset() const { return base_ + position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }

  template <class T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  /// The next `count` bytes.
  std::span<const std::byte> take(std::uint64_t count, std::string_view field) {
    if (count > remaining())
      throw Error(Errc::bad_format,
                  "needs " + std::to_string(count) + " bytes, only " + std::to_string(remaining()) + " are left",
                  {.file = {}, .field = std::string(field), .offset = offset(), .hint = {}});
    const auto part = bytes_.subspan(position_, count);
    position_ += count;
    return part;
  }

  /// A u64 count of items that each take at least `bytes_per_item`: refused above `limit` or beyond the bytes left.
  std::uint64_t read_count(std::uint64_t limit, std::uint64_t bytes_per_item, std::string_view field);

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t base_ = 0;
  std::uint64_t position_ = 0;
};

}  // namespace headlight
