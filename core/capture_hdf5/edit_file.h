#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/capture_hdf5/array_writer.h"
#include "core/capture_hdf5/file_driver.h"

namespace headlight::capture::hdf5 {

/// A finished copy of a capture that is put in order: dimensions, attributes, small arrays, links.
/// @error io  the disk failed; damaged  the file does not allow it
class EditFile {
 public:
  explicit EditFile(std::filesystem::path path);
  EditFile(const EditFile&) = delete;
  EditFile& operator=(const EditFile&) = delete;

  /// Shortens axis `axis` to `size`; longer ones stay.
  void shorten(const std::string& path, int axis, hsize_t size);
  /// Whole content of a dataset whose dimensions become `dims`.
  void write(const std::string& path, const Sizes& dims, const void* stored);
  void set_attribute(const std::string& object, const std::string& name, std::int64_t value);
  void set_text(const std::string& object, const std::string& name, const std::string& value);
  void remove(const std::string& path);
  void link(const std::string& path, const std::string& file, const std::string& object);
  void close();

 private:
  void check() const;

  std::filesystem::path path_;
  WriteLatch latch_;
  Handle file_;
};

/// Gives a finished temporary file its final name. @error output_exists, io
void publish(const std::filesystem::path& temporary, const std::filesystem::path& path, bool overwrite);

}  // namespace headlight::capture::hdf5
