#include "base/file.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace headlight {
namespace {

std::string system_message(int errno_value) {
  return std::system_category().message(errno_value);
}

[[noreturn]] void throw_open_error(int errno_value, const std::filesystem::path& path) {
  const Errc code = errno_value == ENOENT || errno_value == ENOTDIR ? Errc::not_found : Errc::unreadable;
  throw Error(code, code == Errc::not_found ? "no such file" : "cannot be opened: " + system_message(errno_value),
              {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
}

FileStamp stamp_of(const struct stat& st) {
  return {static_cast<std::uint64_t>(st.st_size),
          static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + st.st_mtim.tv_nsec,
          static_cast<std::uint64_t>(st.st_ino)};
}

void on_sigbus(int) {
  constexpr std::string_view text = "headlight: a mapped input file changed during the run\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(3);
}

void install_sigbus_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = on_sigbus;
    ::sigaction(SIGBUS, &action, nullptr);
  });
}

std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t b : bytes) {
    text += digits[b >> 4];
    text += digits[b & 15];
  }
  return text;
}

std::string finish(sha256_ctx& context) {
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest{};
  sha256_digest(&context, digest.size(), digest.data());
  return hex(digest);
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) throw_open_error(errno, path);
  struct stat st {};
  if (::fstat(fd_, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(std::exchange(fd_, -1));
    throw Error(Errc::unreadable, "is not a regular file",
                {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  }
  stamp_ = stamp_of(st);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), stamp_(other.stamp_), fd_(std::exchange(other.fd_, -1)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(stamp_, other.stamp_);
  std::swap(fd_, other.fd_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void InputFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw Error(Errc::unreadable, "cannot be read: " + system_message(errno),
                  {.file = path_.string(), .field = {}, .offset = offset + done, .hint = {}});
    if (n == 0)
      throw Error(Errc::changed, "ends early: the file changed while it was being read",
                  {.file = path_.string(), .field = {}, .offset = offset + done, .hint = {}});
    done += static_cast<std::size_t>(n);
  }
}

void InputFile::check_unchanged() const {
  struct stat st {};
  if (::stat(path_.c_str(), &st) != 0 || stamp_of(st) != stamp_)
    throw Error(Errc::changed, "changed during the run",
                {.file = path_.string(), .field = {}, .offset = {}, .hint = {}});
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t limit) {
  const bool from_stdin = path == "-";
  std::string text;
  const auto check_size = [&](std::uint64_t size) {
    if (size > limit)
      throw Error(
          Errc::bad_format,
          "is larger than the limit of " + std::to_string(limit) + " bytes (found " + std::to_string(size) + ")",
          {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  };
  if (!from_stdin) {
    const InputFile file(path);
    check_size(file.size());
    text.resize(file.size());
    file.read_at(0, std::as_writable_bytes(std::span(text.data(), text.size())));
    return text;
  }
  std::array<char, 65536> chunk{};
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(Errc::unreadable, "standard input cannot be read: " + system_message(errno));
    if (n == 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    check_size(text.size());
  }
}

MappedFile::MappedFile(const InputFile& file) : size_(file.size()) {
  if (size_ == 0) return;
  install_sigbus_handler();
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED)
    throw Error(errno == ENOMEM ? Errc::out_of_memory : Errc::unreadable, "cannot be mapped: " + system_message(errno),
                {.file = file.path().string(), .field = {}, .offset = {}, .hint = {}});
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void throw_io_error(int errno_value, const std::filesystem::path& path, const std::string& operation) {
  throw Error(Errc::io, operation + " failed: " + system_message(errno_value),
              {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
}

std::filesystem::path part_path(const std::filesystem::path& path) {
  std::random_device random;
  std::array<std::uint8_t, 8> bytes{};
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
  return path.parent_path() / ("." + path.filename().string() + "." + hex(bytes) + ".part");
}

void check_output_path(const std::filesystem::path& path, bool overwrite) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(Errc::invalid_argument, "output is a folder, expected a file name",
                {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  // A finished file is renamed over the old one: that would put it in the place of a device or pipe.
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw Error(Errc::invalid_argument, "output is a device or pipe, expected a file name",
                {.file = path.string(), .field = {}, .offset = {}, .hint = {}});
  if (!overwrite && std::filesystem::exists(status))
    throw Error(Errc::output_exists, "exists already",
                {.file = path.string(), .field = {}, .offset = {}, .hint = "use --force to overwrite"});
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  if (::access(folder.c_str(), W_OK | X_OK) != 0) throw_io_error(errno, path, "creating the output file");
}

void sync_folder_of(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

OutputFile::OutputFile(std::filesystem::path path, bool overwrite) : path_(std::move(path)), overwrite_(overwrite) {
  check_output_path(path_, overwrite);
  temporary_ = part_path(path_);
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd_ < 0) throw_io_error(errno, path_, "creating the output file");
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_io_error(errno, path_, "writing");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void OutputFile::commit() {
  if (::fsync(fd_) != 0) throw_io_error(errno, path_, "writing to disk");
  if (::close(std::exchange(fd_, -1)) != 0) throw_io_error(errno, path_, "closing");
  const int failed =
      overwrite_ ? ::rename(temporary_.c_str(), path_.c_str()) : ::link(temporary_.c_str(), path_.c_str());
  const int error = errno;
  if (!overwrite_ || failed != 0) ::unlink(temporary_.c_str());
  if (failed != 0 && error == EEXIST)
    throw Error(Errc::output_exists, "exists already",
                {.file = path_.string(), .field = {}, .offset = {}, .hint = "use --force to overwrite"});
  if (failed != 0) throw_io_error(error, path_, "renaming the finished file");
  sync_folder_of(path_);
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  return finish(context);
}

std::string sha256_hex(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const InputFile file(path);
  sha256_ctx context;
  sha256_init(&context);
  std::vector<std::byte> chunk(1 << 20);
  for (std::uint64_t at = 0; at < file.size(); at += chunk.size()) {
    const auto part = std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), file.size() - at));
    file.read_at(at, part);
    sha256_update(&context, part.size(), reinterpret_cast<const std::uint8_t*>(part.data()));
  }
  return finish(context);
}

}  // namespace headlight
