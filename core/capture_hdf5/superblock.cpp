#include "core/capture_hdf5/superblock.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr std::size_t kSize = 48, kFlags = 11, kBase = 12, kEnd = 28, kChecksum = 44;
constexpr unsigned char kSignature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

using Block = std::array<unsigned char, kSize>;

std::uint64_t load(const Block& block, std::size_t offset, int bytes) {
  std::uint64_t value = 0;
  for (int b = bytes - 1; b >= 0; --b) value = value << 8 | block[offset + static_cast<std::size_t>(b)];
  return value;
}

void store(Block& block, std::size_t offset, int bytes, std::uint64_t value) {
  for (int b = 0; b < bytes; ++b)
    block[offset + static_cast<std::size_t>(b)] = static_cast<unsigned char>(value >> 8 * b);
}

/// Bob Jenkins' lookup3 ("hashlittle") of the bytes before the checksum: what the format prescribes.
std::uint32_t checksum(const Block& block) {
  std::uint32_t a = 0xdeadbeefu + static_cast<std::uint32_t>(kChecksum), b = a, c = a;
  const auto word = [&](std::size_t offset) { return static_cast<std::uint32_t>(load(block, offset, 4)); };
  std::size_t at = 0, left = kChecksum;
  for (; left > 12; left -= 12, at += 12) {
    a += word(at);
    b += word(at + 4);
    c += word(at + 8);
    a -= c, a ^= std::rotl(c, 4), c += b;
    b -= a, b ^= std::rotl(a, 6), a += c;
    c -= b, c ^= std::rotl(b, 8), b += a;
    a -= c, a ^= std::rotl(c, 16), c += b;
    b -= a, b ^= std::rotl(a, 19), a += c;
    c -= b, c ^= std::rotl(b, 4), b += a;
  }
  static_assert(kChecksum % 12 == 8);
  b += word(at + 4);
  a += word(at);
  c ^= b, c -= std::rotl(b, 14);
  a ^= c, a -= std::rotl(c, 11);
  b ^= a, b -= std::rotl(a, 25);
  c ^= b, c -= std::rotl(b, 16);
  a ^= c, a -= std::rotl(c, 4);
  b ^= a, b -= std::rotl(a, 14);
  c ^= b, c -= std::rotl(b, 24);
  return c;
}

[[noreturn]] void refuse(Errc code, const std::filesystem::path& path, std::uint64_t offset, const std::string& text) {
  throw Error(code, text, {.file = path.string(), .field = "superblock", .offset = offset, .hint = {}});
}

Block read_block(const InputFile& file) {
  Block block{};
  const std::size_t there = std::min<std::uint64_t>(file.size(), kSize);
  file.read_at(0, std::as_writable_bytes(std::span(block.data(), there)));
  if (there < sizeof kSignature || std::memcmp(block.data(), kSignature, sizeof kSignature) != 0)
    refuse(Errc::bad_format, file.path(), 0, "is not an HDF5 file: the signature is missing");
  if (there < kSize)
    refuse(Errc::damaged, file.path(), there, fmt::format("ends early: expected {} bytes, found {}", kSize, there));
  return block;
}

}  // namespace

Superblock read_superblock(const std::filesystem::path& path) {
  const InputFile file(path);
  const Block block = read_block(file);
  Superblock out;
  out.version = block[8];
  out.flags = block[kFlags];
  out.file_size = file.size();
  if (out.version != 2 && out.version != 3)
    refuse(Errc::bad_format, path, 8,
           fmt::format("is an HDF5 file, but no capture: expected superblock version 2 or 3, found {}", out.version));
  if (block[9] != 8 || block[10] != 8)
    refuse(Errc::bad_format, path, 9,
           fmt::format("expected 8-byte offsets and lengths, found {} and {}", block[9], block[10]));
  if (load(block, kChecksum, 4) != checksum(block)) refuse(Errc::damaged, path, kChecksum, "checksum differs");
  if (load(block, kBase, 8) != 0)
    refuse(Errc::bad_format, path, kBase, fmt::format("expected base address 0, found {}", load(block, kBase, 8)));
  out.end = load(block, kEnd, 8);
  if (out.flags == 0 && out.end > out.file_size)
    refuse(Errc::damaged, path, out.file_size,
           fmt::format("is truncated: expected {} bytes, found {}", out.end, out.file_size));
  return out;
}

void close_superblock(const std::filesystem::path& path, const Superblock& superblock) {
  Block block = read_block(InputFile(path));
  const std::uint64_t end = std::max(superblock.end, superblock.file_size);
  block[kFlags] = 0;
  store(block, kEnd, 8, end);
  store(block, kChecksum, 4, checksum(block));
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw_io_error(errno, path, "opening the copy");
  const bool ok = ::ftruncate(fd, static_cast<off_t>(end)) == 0 &&
                  ::pwrite(fd, block.data(), block.size(), 0) == static_cast<ssize_t>(block.size());
  const int error = errno;
  ::close(fd);
  if (!ok) throw_io_error(error, path, "writing the superblock");
}

}  // namespace headlight::capture::hdf5
