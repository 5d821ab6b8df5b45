#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <hdf5.h>

#include "tests/support/synthetic_capture.h"
#include "tests/support/temp_folder.h"

namespace headlight::capture {

/// A small sealed capture in a folder of its own, to be spoiled.
class Golden {
 public:
  Golden();
  explicit Golden(const testing_support::SyntheticRun& run);

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& folder() const { return folder_.path(); }

  /// Opens the file for writing with the library and lets `change` spoil it.
  void edit(const std::function<void(hid_t file)>& change) const;
  /// Overwrites bytes.
  void patch(std::uint64_t offset, const std::string& bytes) const;
  std::string bytes() const;
  void write_bytes(const std::string& bytes) const;

 private:
  testing_support::TempFolder folder_;
  std::filesystem::path path_;
};

/// Removes a link and creates a dataset of another shape or type in its place.
void replace_dataset(hid_t file, const char* path, hid_t type, const std::vector<hsize_t>& dims,
                     const std::function<void(hid_t creation)>& configure = {});
/// Overwrites one element of an integer or float dataset.
void set_element(hid_t file, const char* path, std::vector<hsize_t> at, double value);
/// Overwrites an attribute that is one whole number.
void set_number(hid_t file, const char* object, const char* name, std::int64_t value);

/// Opens a capture and reads everything a view offers.
void read_everything(const std::filesystem::path& path);

}  // namespace headlight::capture
