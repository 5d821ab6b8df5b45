#include "core/capture_hdf5/edit_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"

namespace headlight::capture::hdf5 {

EditFile::EditFile(std::filesystem::path path) : path_(std::move(path)) {
  const Gate gate;
  const Handle access = make_access_list();
  use_latching_driver(access, latch_);
  file_ =
      own(H5Fopen(path_.c_str(), H5F_ACC_RDWR, access), H5Fclose, Errc::damaged, path_.string(), "opening the copy");
}

void EditFile::check() const {
  if (latch_.error != 0) throw_io_error(latch_.error, path_, latch_.operation);
}

void EditFile::shorten(const std::string& path, int axis, hsize_t size) {
  const Gate gate;
  const Handle dataset =
      own(H5Dopen2(file_, path.c_str(), H5P_DEFAULT), H5Dclose, Errc::damaged, path_.string(), "opening " + path);
  const Handle space = own(H5Dget_space(dataset), H5Sclose, Errc::damaged, path_.string(), "reading " + path);
  Sizes dims(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  hsize_t& dim = dims[static_cast<std::size_t>(axis)];
  if (dim <= size) return;
  dim = size;
  if (H5Dset_extent(dataset, dims.data()) < 0) throw_library_error(Errc::damaged, path_.string(), "shortening " + path);
  check();
}

void EditFile::write(const std::string& path, const Sizes& dims, const void* stored) {
  const Gate gate;
  const Handle dataset =
      own(H5Dopen2(file_, path.c_str(), H5P_DEFAULT), H5Dclose, Errc::damaged, path_.string(), "opening " + path);
  const Handle space = own(H5Dget_space(dataset), H5Sclose, Errc::damaged, path_.string(), "reading " + path);
  Sizes found(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, found.data(), nullptr);
  if (found != dims && H5Dset_extent(dataset, dims.data()) < 0)
    throw_library_error(Errc::damaged, path_.string(), "resizing " + path);
  const Handle type = own(H5Dget_type(dataset), H5Tclose, Errc::damaged, path_.string(), "reading " + path);
  if (H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, stored) < 0)
    throw_library_error(Errc::damaged, path_.string(), "writing " + path);
  check();
}

void EditFile::set_attribute(const std::string& object, const std::string& name, std::int64_t value) {
  const Gate gate;
  const Handle target =
      own(H5Oopen(file_, object.c_str(), H5P_DEFAULT), H5Oclose, Errc::damaged, path_.string(), "opening " + object);
  rewrite_attribute(target, name, value);
  check();
}

void EditFile::set_text(const std::string& object, const std::string& name, const std::string& value) {
  const Gate gate;
  const Handle target =
      own(H5Oopen(file_, object.c_str(), H5P_DEFAULT), H5Oclose, Errc::damaged, path_.string(), "opening " + object);
  if (H5Adelete(target, name.c_str()) < 0) throw_library_error(Errc::damaged, path_.string(), "replacing " + name);
  write_attribute(target, name, value);
  check();
}

void EditFile::remove(const std::string& path) {
  const Gate gate;
  if (H5Ldelete(file_, path.c_str(), H5P_DEFAULT) < 0)
    throw_library_error(Errc::damaged, path_.string(), "removing " + path);
  check();
}

void EditFile::link(const std::string& path, const std::string& file, const std::string& object) {
  const Gate gate;
  if (H5Lcreate_external(file.c_str(), object.c_str(), file_, path.c_str(), H5P_DEFAULT, H5P_DEFAULT) < 0)
    throw_library_error(Errc::damaged, path_.string(), "linking " + path);
  check();
}

void EditFile::close() {
  file_.reset();
  check();
}

void publish(const std::filesystem::path& temporary, const std::filesystem::path& path, bool overwrite) {
  const int fd = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int sync_error = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) throw_io_error(sync_error, temporary, "writing to disk");
  const int failed = overwrite ? ::rename(temporary.c_str(), path.c_str()) : ::link(temporary.c_str(), path.c_str());
  const int error = errno;
  if (failed != 0 && error == EEXIST)
    throw Error(Errc::output_exists,
                fmt::format("exists already: somebody else wrote it meanwhile; this capture is complete in '{}'",
                            temporary.string()),
                {.file = path.string(), .field = {}, .offset = {}, .hint = "rename that file"});
  if (failed != 0) throw_io_error(error, path, "renaming the finished file");
  if (!overwrite) ::unlink(temporary.c_str());
  sync_folder_of(path);
}

}  // namespace headlight::capture::hdf5
