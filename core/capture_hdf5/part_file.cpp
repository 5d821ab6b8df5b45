#include "core/capture_hdf5/part_file.h"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5_hl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "core/capture_hdf5/edit_file.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr std::uint64_t kSyncBytes = 256u << 20;
constexpr std::int64_t kSyncMs = 30'000;
constexpr hsize_t kTableChunk = 4096;

struct JournalEntry {
  double time;
  std::uint16_t event;
  std::int32_t record;
  std::int64_t detail;
};

std::int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

std::vector<std::string> split_axes(const std::string& axes) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < axes.size();) {
    const std::size_t end = std::min(axes.find(',', begin), axes.size());
    names.push_back(axes.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

PartFile::PartFile(std::filesystem::path path, bool overwrite, int compression_threads, bool reproducible)
    : path_(std::move(path)),
      part_(part_path(path_)),
      overwrite_(overwrite),
      reproducible_(reproducible),
      pool_(std::max(1, compression_threads)) {
  check_output_path(path_, overwrite_);
  const Gate gate;
  file_ = open_file(H5F_ACC_EXCL);
  lock_fd_ = ::open(part_.c_str(), O_RDONLY | O_CLOEXEC);
  if (lock_fd_ >= 0) ::flock(lock_fd_, LOCK_SH | LOCK_NB);
  synced_at_ms_ = steady_ms();
  ArraySpec progress;
  progress.path = "/live/progress";
  progress.element = Element::i64;
  progress.dims = {16};
  progress.fill = 0;
  progress.fill_is_missing = false;
  progress.long_name = "counters of the running capture";
  create_group("/live");
  create_array(progress);
}

PartFile::~PartFile() {
  const bool worthless = state_ == State::define;
  abandon();
  if (worthless) ::unlink(part_.c_str());
}

Handle PartFile::open_file(unsigned flags) {
  const Handle access = make_access_list();
  use_latching_driver(access, latch_);
  hid_t id = -1;
  if ((flags & H5F_ACC_EXCL) != 0) {
    const Handle creation = own(H5Pcreate(H5P_FILE_CREATE), H5Pclose, Errc::internal, "", "preparing the file");
    H5Pset_obj_track_times(creation, false);
    H5Pset_attr_phase_change(creation, 64, 48);
    id = H5Fcreate(part_.c_str(), flags, creation, access);
  } else {
    id = H5Fopen(part_.c_str(), flags, access);
  }
  if (id < 0 && latch_.open_error != 0) throw_io_error(latch_.open_error, part_, "creating the file");
  check_disk();
  return own(id, H5Fclose, Errc::io, part_.string(), "opening the file");
}

void PartFile::require(State state) const {
  HEADLIGHT_CHECK(state_ == state);
}

void PartFile::create_group(const std::string& path) {
  require(State::define);
  const Gate gate;
  const Handle list = own(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, Errc::internal, "", "preparing a group");
  H5Pset_obj_track_times(list, false);
  H5Pset_attr_phase_change(list, 64, 48);
  const Handle group = own(H5Gcreate2(file_, path.c_str(), H5P_DEFAULT, list, H5P_DEFAULT), H5Gclose, Errc::io,
                           part_.string(), "creating group " + path);
  check_disk();
}

void PartFile::set_attribute(const std::string& object, const std::string& name, const AttributeValue& value) {
  require(State::define);
  const Gate gate;
  const Handle target =
      own(H5Oopen(file_, object.c_str(), H5P_DEFAULT), H5Oclose, Errc::io, part_.string(), "opening " + object);
  write_attribute(target, name, value);
  check_disk();
}

ArrayWriter& PartFile::create_array(ArraySpec spec) {
  require(State::define);
  const std::string path = spec.path;
  auto& slot = arrays_[path];
  HEADLIGHT_CHECK(!slot);
  slot = std::make_unique<ArrayWriter>(file_, std::move(spec));
  order_.push_back(path);
  check_disk();
  return *slot;
}

void PartFile::create_bytes(const std::string& path, const std::string& axis, std::string_view bytes,
                            const std::string& long_name) {
  ArraySpec spec;
  spec.path = path;
  spec.axes = axis;
  spec.element = Element::u8;
  spec.dims = {bytes.size()};
  spec.fill = 0;
  spec.fill_is_missing = false;
  spec.long_name = long_name;
  if (bytes.size() >= 65536) {
    spec.chunk = {65536};
    spec.filters.deflate = true;
  }
  create_array(std::move(spec)).write({0}, {bytes.size()}, bytes.data(), &pool_);
  check_disk();
}

void PartFile::create_texts(const std::string& path, const std::string& axis, const std::vector<std::string>& texts,
                            std::size_t longest, const std::string& long_name) {
  ArraySpec spec;
  spec.path = path;
  spec.axes = axis;
  spec.element = Element::text;
  spec.text_bytes = longest;
  spec.dims = {texts.size()};
  spec.fill_is_missing = false;
  spec.long_name = long_name;
  create_array(std::move(spec)).write({0}, {texts.size()}, pack_texts(texts, longest).data());
  check_disk();
}

void PartFile::create_scale(const std::string& path, const std::vector<std::int32_t>& values, bool grows,
                            const std::string& long_name, const std::string& units) {
  ArraySpec spec;
  spec.path = path;
  spec.element = Element::i32;
  spec.dims = {values.size()};
  spec.fill = -1;
  spec.fill_is_missing = false;
  spec.long_name = long_name;
  spec.units = units;
  if (grows) {
    spec.growing_axis = 0;
    spec.chunk = {kTableChunk / 4};
  }
  ArrayWriter& scale = create_array(std::move(spec));
  scale.write({0}, {values.size()}, values.data());
  const Gate gate;
  if (H5DSset_scale(scale.id(), path.substr(path.rfind('/') + 1).c_str()) < 0)
    throw_library_error(Errc::io, part_.string(), "making scale " + path);
  check_disk();
}

void PartFile::create_dimension(const std::string& path, hsize_t size) {
  ArraySpec spec;
  spec.path = path;
  spec.element = Element::u8;
  spec.dims = {size};
  spec.fill = 0;
  spec.fill_is_missing = false;
  spec.chunk = {kTableChunk};  // never written: takes no space
  spec.growing_axis = 0;
  ArrayWriter& scale = create_array(std::move(spec));
  const std::string name = fmt::format("This is a netCDF dimension but not a netCDF variable.{:>10}", size);
  const Gate gate;
  if (H5DSset_scale(scale.id(), name.c_str()) < 0)
    throw_library_error(Errc::io, part_.string(), "making dimension " + path);
  check_disk();
}

void PartFile::create_external_link(const std::string& path, const std::string& file, const std::string& object) {
  require(State::define);
  const Gate gate;
  if (H5Lcreate_external(file.c_str(), object.c_str(), file_, path.c_str(), H5P_DEFAULT, H5P_DEFAULT) < 0)
    throw_library_error(Errc::io, part_.string(), "creating link " + path);
  check_disk();
}

void PartFile::attach_scales() {
  for (const std::string& path : order_) {
    const ArrayWriter& target = *arrays_.at(path);
    const std::vector<std::string> axes = split_axes(target.spec().axes);
    for (std::size_t a = 0; a < axes.size(); ++a) {
      std::string group = parent_of(path);
      while (!arrays_.contains(group + "/" + axes[a]) && !group.empty()) group = parent_of(group);
      const auto scale = arrays_.find(group + "/" + axes[a]);
      HEADLIGHT_CHECK(scale != arrays_.end());
      if (H5DSattach_scale(target.id(), scale->second->id(), static_cast<unsigned>(a)) < 0)
        throw_library_error(Errc::io, part_.string(), fmt::format("attaching {} to {}", axes[a], path));
    }
  }
}

void PartFile::start_append() {
  require(State::define);
  ArraySpec journal;
  const Gate gate;
  attach_scales();
  {
    const Handle type = own(H5Tcreate(H5T_COMPOUND, 22), H5Tclose, Errc::internal, "", "making the journal's type");
    H5Tinsert(type, "time", 0, H5T_IEEE_F64LE);
    H5Tinsert(type, "event", 8, H5T_STD_U16LE);
    H5Tinsert(type, "record", 10, H5T_STD_I32LE);
    H5Tinsert(type, "detail", 14, H5T_STD_I64LE);
    const hsize_t none = 0, unlimited = H5S_UNLIMITED, chunk = 256;
    const Handle space = own(H5Screate_simple(1, &none, &unlimited), H5Sclose, Errc::internal, "", "journal");
    const Handle list = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, Errc::internal, "", "journal");
    H5Pset_obj_track_times(list, false);
    H5Pset_chunk(list, 1, &chunk);
    const Handle dataset = own(H5Dcreate2(file_, "/journal", type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose,
                               Errc::io, part_.string(), "creating the journal");
    write_attribute(dataset, "long_name", "events of the run: 2 record begins, 3 record ends, 4 finish");
  }
  if (H5Fflush(file_, H5F_SCOPE_LOCAL) < 0) throw_library_error(Errc::io, part_.string(), "flushing the file");
  check_disk();
  if (H5Fstart_swmr_write(file_) < 0) throw_library_error(Errc::io, part_.string(), "starting to append");
  state_ = State::append;
  check_disk();
}

ArrayWriter& PartFile::array(const std::string& path) {
  require(State::append);
  const auto found = arrays_.find(path);
  HEADLIGHT_CHECK(found != arrays_.end());
  return *found->second;
}

void PartFile::grow_scale(const std::string& path, hsize_t size) {
  ArrayWriter& scale = array(path);
  const hsize_t begin = scale.dims()[0];
  if (size <= begin) return;
  scale.grow(0, size);
  if (scale.spec().element == Element::i32) {
    std::vector<std::int32_t> values(size - begin);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(begin + i);
    scale.write({begin}, {size - begin}, values.data());
  }
  check_disk();
}

void PartFile::add_journal(std::int64_t event, std::int64_t record, std::int64_t detail) {
  require(State::append);
  const Gate gate;
  const Handle dataset = own(H5Dopen2(file_, "/journal", H5P_DEFAULT), H5Dclose, Errc::io, part_.string(), "journal");
  hsize_t count = 0;
  {
    const Handle space = own(H5Dget_space(dataset), H5Sclose, Errc::io, part_.string(), "journal");
    H5Sget_simple_extent_dims(space, &count, nullptr);
  }
  const hsize_t size = count + 1, one = 1;
  if (H5Dset_extent(dataset, &size) < 0) throw_library_error(Errc::io, part_.string(), "growing the journal");
  const Handle type = own(H5Dget_type(dataset), H5Tclose, Errc::io, part_.string(), "journal");
  std::byte packed[22];
  const JournalEntry entry{static_cast<double>(capture_time_ms(reproducible_)) / 1000.0,
                           static_cast<std::uint16_t>(event), static_cast<std::int32_t>(record), detail};
  std::memcpy(packed, &entry.time, 8);
  std::memcpy(packed + 8, &entry.event, 2);
  std::memcpy(packed + 10, &entry.record, 4);
  std::memcpy(packed + 14, &entry.detail, 8);
  const Handle memory = own(H5Screate_simple(1, &one, nullptr), H5Sclose, Errc::io, part_.string(), "journal");
  const Handle space = own(H5Dget_space(dataset), H5Sclose, Errc::io, part_.string(), "journal");
  if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &count, nullptr, &one, nullptr) < 0 ||
      H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, packed) < 0 || H5Dflush(dataset) < 0)
    throw_library_error(Errc::io, part_.string(), "writing the journal");
  check_disk();
}

void PartFile::sync_disk() {
  if (lock_fd_ >= 0 && ::fdatasync(lock_fd_) != 0 && latch_.error == 0) {
    latch_.error = errno;
    latch_.operation = "sync";
  }
  synced_bytes_ = latch_.bytes_written;
  synced_at_ms_ = steady_ms();
}

void PartFile::flush(LiveProgress progress) {
  require(State::append);
  ArrayWriter* counters = nullptr;
  for (const std::string& path : order_) {
    ArrayWriter& each = *arrays_.at(path);
    if (path == "/live/progress")
      counters = &each;
    else
      each.flush();
  }
  check_disk();
  progress.sequence = sequence_ += 2;
  progress.bytes_written = reproducible_ ? 0 : static_cast<std::int64_t>(latch_.bytes_written);
  progress.time_ms = capture_time_ms(reproducible_);
  const auto values = progress.pack();
  counters->write({0}, {values.size()}, values.data());
  counters->flush();
  if (latch_.bytes_written - synced_bytes_ > kSyncBytes || steady_ms() - synced_at_ms_ > kSyncMs) sync_disk();
  check_disk();
}

void PartFile::check_disk() {
  if (latch_.error == 0) return;
  struct statvfs disk {};
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const std::uint64_t free_bytes = ::statvfs(folder.c_str(), &disk) == 0 ? disk.f_bavail * disk.f_frsize : 0;
  throw Error(Errc::io,
              fmt::format("{} failed: {}; {} bytes were to be written, {} are free on this disk; what was recorded "
                          "before is kept in '{}'",
                          latch_.operation, std::strerror(latch_.error), latch_.size, free_bytes, part_.string()),
              {.file = path_.string(),
               .field = {},
               .offset = latch_.offset,
               .hint = fmt::format("free some space, then: headlight recover {} -o FILE.h5", part_.string())});
}

void PartFile::close_arrays() {
  arrays_.clear();
  order_.clear();
}

void PartFile::begin_seal() {
  require(State::append);
  const Gate gate;
  close_arrays();
  const hid_t id = file_.get();
  if (H5Fflush(id, H5F_SCOPE_LOCAL) < 0) throw_library_error(Errc::io, part_.string(), "flushing the file");
  check_disk();
  file_.reset();
  check_disk();
  sync_disk();
  check_disk();
  file_ = open_file(H5F_ACC_RDWR);
  state_ = State::seal;
}

void PartFile::set_final(const std::string& object, const std::string& attribute, std::int64_t value) {
  require(State::seal);
  const Gate gate;
  const Handle target =
      own(H5Oopen(file_, object.c_str(), H5P_DEFAULT), H5Oclose, Errc::io, part_.string(), "opening " + object);
  rewrite_attribute(target, attribute, value);
  check_disk();
}

void PartFile::remove_link(const std::string& path) {
  require(State::seal);
  const Gate gate;
  if (H5Ldelete(file_, path.c_str(), H5P_DEFAULT) < 0)
    throw_library_error(Errc::io, part_.string(), "removing link " + path);
  check_disk();
}

void PartFile::commit() {
  require(State::seal);
  {
    const Gate gate;
    file_.reset();
  }
  check_disk();
  state_ = State::closed;
  publish(part_, path_, overwrite_);
  abandon();
}

void PartFile::abandon() noexcept {
  try {
    const Gate gate;
    close_arrays();
    file_.reset();
  } catch (const std::exception&) {  // closing is all that can be done
  }
  if (lock_fd_ >= 0) ::close(std::exchange(lock_fd_, -1));
  state_ = State::closed;
}

std::int64_t capture_time_ms(bool reproducible) {
  if (!reproducible)
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  const char* epoch = std::getenv("SOURCE_DATE_EPOCH");
  return epoch == nullptr ? 0 : std::strtoll(epoch, nullptr, 10) * 1000;
}

std::string capture_time_text(bool reproducible) {
  const std::time_t seconds = static_cast<std::time_t>(capture_time_ms(reproducible) / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string capture_uuid(bool reproducible, const std::string& seed_text) {
  std::string hex;
  if (reproducible) {
    hex = sha256_hex(seed_text).substr(0, 32);
  } else {
    std::random_device device;
    for (int i = 0; i < 4; ++i) hex += fmt::format("{:08x}", device());
  }
  hex[12] = reproducible ? '8' : '4';  // RFC 9562: 4 = random, 8 = own scheme
  hex[16] = "89ab"[static_cast<unsigned char>(hex[16]) & 3];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20, 12));
}

}  // namespace headlight::capture::hdf5
