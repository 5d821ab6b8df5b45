#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace headlight {

/// Identity of a file's content as the file system sees it; compared at the end of a run to detect a change.
struct FileStamp {
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};

/// A regular file opened for reading. Move-only; closed by the destructor.
/// @error not_found, unreadable (permissions, a folder, a pipe or a device)
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return stamp_.size; }
  const FileStamp& stamp() const { return stamp_; }
  int descriptor() const { return fd_; }

  /// Fills `out` from `offset`. @error changed when the file is shorter than it was at opening
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;

  /// @error changed when size, time or inode differ from what they were at opening
  void check_unchanged() const;

 private:
  std::filesystem::path path_;
  FileStamp stamp_;
  int fd_ = -1;
};

/// Whole content of a regular file (or of stdin for "-"), at most `limit` bytes.
/// @error not_found, unreadable, bad_format when larger than `limit`
std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit);

/// A file mapped read-only for its whole life. Touching bytes of a file that was truncated meanwhile ends the process
/// with the sentence "file changed during run" and exit code 3 (a SIGBUS handler that is installed once).
class MappedFile {
 public:
  explicit MappedFile(const InputFile& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A file that appears under its final name only when complete: written beside it as `.<name>.<random>.part`,
/// then fsync and rename. The destructor removes an unfinished one.
/// @error output_exists (without `overwrite`), io
class OutputFile {
 public:
  OutputFile(std::filesystem::path path, bool overwrite);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();  ///< fsync, rename, fsync the folder

  const std::filesystem::path& temporary_path() const { return temporary_; }

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool overwrite_ = false;
  int fd_ = -1;
};

/// Throws Error{output_exists} when `path` exists and `overwrite` is false, Error{invalid_argument} when it is a
/// folder, a device or a pipe, Error{io} when its folder cannot be written.
void check_output_path(const std::filesystem::path& path, bool overwrite);

/// `.<name>.<16 random hex digits>.part` beside `path`.
std::filesystem::path part_path(const std::filesystem::path& path);

/// Flushes a folder's entry table to disk after a rename.
void sync_folder_of(const std::filesystem::path& path);

/// "No space left on device" and friends as Error{io}; names path and operation.
[[noreturn]] void throw_io_error(int errno_value, const std::filesystem::path& path, const std::string& operation);

/// SHA-256 as 64 lower-case hex digits.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace headlight
