#pragma once

#include <cstdint>
#include <filesystem>

namespace headlight::capture::hdf5 {

/// First block of an HDF5 file of version 2 or 3, read without the library.
struct Superblock {
  std::uint8_t version = 0;
  std::uint8_t flags = 0;  ///< bit 0: open for writing, bit 2: single writer, multiple readers
  std::uint64_t end = 0;   ///< where the writer thought the file ends
  std::uint64_t file_size = 0;

  static constexpr std::uint8_t kWriting = 1, kSwmr = 4;
};

/// @error not_found, unreadable, bad_format (not HDF5, not a capture's version), damaged (checksum, truncated)
Superblock read_superblock(const std::filesystem::path& path);

/// Marks a file that nobody has open any more as closed: clears the flags, sets the end to the file's size (a shorter
/// file is extended with zeros).
/// @error io
void close_superblock(const std::filesystem::path& path, const Superblock& block);

}  // namespace headlight::capture::hdf5
