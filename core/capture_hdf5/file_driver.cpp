#include "core/capture_hdf5/file_driver.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 14, 0)
#include <H5FDdevelop.h>
#endif

namespace headlight::capture::hdf5 {
namespace {

constexpr haddr_t kMaxAddress = haddr_t{1} << 62;

struct DriverInfo {
  WriteLatch* latch;
};

struct LatchingFile {
  H5FD_t base;  // first: the library sees only this
  int fd;
  haddr_t end_of_allocation;
  haddr_t end_of_file;
  dev_t device;
  ino_t inode;
  WriteLatch* latch;
};

std::atomic<std::int64_t> fault_countdown{0};
std::atomic<int> fault_error{0};

int injected_fault() {
  if (fault_countdown.load(std::memory_order_relaxed) == 0) return 0;
  return --fault_countdown == 0 ? fault_error.load() : 0;
}

LatchingFile* self(H5FD_t* file) {
  return reinterpret_cast<LatchingFile*>(file);
}
const LatchingFile* self(const H5FD_t* file) {
  return reinterpret_cast<const LatchingFile*>(file);
}

void latch(LatchingFile* file, int error, haddr_t offset, std::size_t size, const char* operation) {
  if (file->latch->error != 0) return;
  file->latch->error = error;
  file->latch->offset = offset;
  file->latch->size = size;
  file->latch->operation = operation;
}

H5FD_t* open_file(const char* name, unsigned flags, hid_t list, haddr_t max_address) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(list));
  if (info == nullptr || max_address == 0) return nullptr;
  int mode = (flags & H5F_ACC_RDWR) != 0 ? O_RDWR : O_RDONLY;
  if ((flags & H5F_ACC_CREAT) != 0) mode |= O_CREAT;
  if ((flags & H5F_ACC_EXCL) != 0) mode |= O_EXCL;
  if ((flags & H5F_ACC_TRUNC) != 0) mode |= O_TRUNC;
  const int fd = ::open(name, mode | O_CLOEXEC, 0644);
  struct stat st {};
  if (fd < 0 || ::fstat(fd, &st) != 0) {
    info->latch->open_error = errno;  // of an attempt: the library tries whether a file exists before it creates one
    if (fd >= 0) ::close(fd);
    return nullptr;
  }
  info->latch->open_error = 0;
  auto* file = new LatchingFile{};
  file->fd = fd;
  file->end_of_file = static_cast<haddr_t>(st.st_size);
  file->device = st.st_dev;
  file->inode = st.st_ino;
  file->latch = info->latch;
  return &file->base;
}

herr_t close_file(H5FD_t* base) {
  LatchingFile* file = self(base);
  if (::close(file->fd) != 0) latch(file, errno, 0, 0, "close");
  delete file;
  return 0;
}

int compare_files(const H5FD_t* a, const H5FD_t* b) {
  const auto *fa = self(a), *fb = self(b);
  if (fa->device != fb->device) return fa->device < fb->device ? -1 : 1;
  return fa->inode == fb->inode ? 0 : fa->inode < fb->inode ? -1 : 1;
}

herr_t query_features(const H5FD_t*, unsigned long* flags) {
  if (flags != nullptr)
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_POSIX_COMPAT_HANDLE | H5FD_FEAT_SUPPORTS_SWMR_IO |
             H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_allocation(const H5FD_t* file, H5FD_mem_t) {
  return self(file)->end_of_allocation;
}
herr_t set_allocation(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  self(file)->end_of_allocation = address;
  return 0;
}
haddr_t get_end(const H5FD_t* file, H5FD_mem_t) {
  return self(file)->end_of_file;
}
herr_t get_descriptor(H5FD_t* file, hid_t, void** handle) {
  *handle = &self(file)->fd;
  return 0;
}

herr_t read_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, void* out) {
  LatchingFile* file = self(base);
  if (address >= kMaxAddress || size > kMaxAddress - address) return -1;
  auto* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t n = ::pread(file->fd, to, size, static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) {  // allocated, never written
      std::memset(to, 0, size);
      return 0;
    }
    to += n;
    address += static_cast<haddr_t>(n);
    size -= static_cast<std::size_t>(n);
  }
  return 0;
}

herr_t write_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, const void* data) {
  LatchingFile* file = self(base);
  if (address >= kMaxAddress || size > kMaxAddress - address) return -1;
  file->end_of_file = std::max(file->end_of_file, address + size);
  if (file->latch->error != 0) return 0;
  if (const int error = injected_fault()) {
    latch(file, error, address, size, "write");
    return 0;
  }
  const auto* from = static_cast<const char*>(data);
  haddr_t at = address;
  for (std::size_t left = size; left > 0;) {
    const ssize_t n = ::pwrite(file->fd, from, left, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      latch(file, n < 0 ? errno : EIO, address, size, "write");
      return 0;
    }
    from += n;
    at += static_cast<haddr_t>(n);
    left -= static_cast<std::size_t>(n);
  }
  file->latch->bytes_written += size;
  return 0;
}

herr_t truncate_file(H5FD_t* base, hid_t, hbool_t) {
  LatchingFile* file = self(base);
  if (file->latch->error != 0 || file->end_of_file == file->end_of_allocation) return 0;
  if (::ftruncate(file->fd, static_cast<off_t>(file->end_of_allocation)) != 0)
    latch(file, errno, file->end_of_allocation, 0, "truncate");
  file->end_of_file = file->end_of_allocation;
  return 0;
}

// Whoever writes holds a lock of its own for the whole run. Still the callbacks must exist: only then does the library
// mark a file as being written, which readers of a live capture rely on.
herr_t keep_lock(H5FD_t*, hbool_t) {
  return 0;
}
herr_t keep_lock(H5FD_t*) {
  return 0;
}

H5FD_class_t make_class() {
  H5FD_class_t driver{};
#if H5_VERSION_GE(1, 14, 0)
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(561);  // 512 and above: private use
#endif
  driver.name = "headlight_latching";
  driver.maxaddr = kMaxAddress;
  driver.fc_degree = H5F_CLOSE_STRONG;
  driver.fapl_size = sizeof(DriverInfo);
  driver.open = open_file;
  driver.close = close_file;
  driver.cmp = compare_files;
  driver.query = query_features;
  driver.get_eoa = get_allocation;
  driver.set_eoa = set_allocation;
  driver.get_eof = get_end;
  driver.get_handle = get_descriptor;
  driver.read = read_bytes;
  driver.write = write_bytes;
  driver.truncate = truncate_file;
  driver.lock = keep_lock;
  driver.unlock = keep_lock;
  constexpr H5FD_mem_t kMap[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kMap), std::end(kMap), driver.fl_map);
  return driver;
}

hid_t driver_id() {
  static const H5FD_class_t driver = make_class();
  static const hid_t id = H5FDregister(&driver);
  return id;
}

}  // namespace

void use_latching_driver(hid_t list, WriteLatch& latch) {
  const Gate gate;
  const DriverInfo info{&latch};
  if (driver_id() < 0 || H5Pset_driver(list, driver_id(), &info) < 0)
    throw_library_error(Errc::internal, "", "preparing the file driver");
}

std::int64_t inject_write_fault(std::int64_t count, int error) {
  fault_error = error;
  return fault_countdown.exchange(count);
}

}  // namespace headlight::capture::hdf5
