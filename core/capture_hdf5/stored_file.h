#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/file.h"
#include "core/capture_hdf5/array_writer.h"
#include "core/capture_hdf5/live_progress.h"
#include "core/capture_hdf5/superblock.h"

namespace headlight::capture::hdf5 {

/// A dataset that passed validation.
struct StoredArray {
  std::string path;
  std::optional<Element> element;  ///< empty: a type that captures do not use, never read
  std::size_t element_bytes = 0;
  Sizes dims, chunk;  ///< chunk empty: contiguous
  FilterSet filters;
  bool foreign_filters = false;  ///< fletcher32 or szip: read through the library
  std::byte fill[8] = {};
  Handle dataset;

  hsize_t num_elements() const;
};

/// Stored form of the chunk that begins at element `at`; false when it was never written. A size that no chunk of
/// `chunk_bytes` can have is refused before anything is read.
/// (Chunks are asked for one by one: listing them gives wrong coordinates where the growing axis is not the first.)
bool read_stored_chunk(hid_t dataset, const Sizes& at, std::uint64_t chunk_bytes, std::vector<std::byte>& bytes,
                       std::uint32_t& mask);

/// Calls `visit(bytes)` for all stored bytes of a dataset: chunks in row-major order, or contiguous data in pieces.
void visit_stored_bytes(hid_t dataset, const Sizes& dims, const Sizes& chunk, std::size_t element_bytes,
                        const InputFile& raw, const std::function<void(std::span<const std::byte>)>& visit);

/// A capture file that is open for reading. Opening walks the whole tree and validates every object before any data
/// are read: signature, links, types, sizes, chunks and filters. Chunks are read and decoded by own code, so that the
/// library sees nothing of a file but its structure, and a compressed chunk can never expand beyond its size.
class StoredFile {
 public:
  /// @error not_found, unreadable, bad_format, bad_version, damaged
  explicit StoredFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  const Superblock& superblock() const { return superblock_; }
  /// Counters of a file that is not closed, as they were before anything else of it was read: whatever they count is
  /// there. Of a closed file, the last ones.
  const LiveProgress& progress() const { return progress_; }
  const std::map<std::string, StoredArray>& arrays() const { return arrays_; }
  const std::map<std::string, std::string>& external_records() const { return external_records_; }

  bool has(const std::string& path) const { return arrays_.contains(path); }
  bool has_group(const std::string& path) const { return groups_.contains(path); }
  /// @error damaged  missing, or another type or rank than expected
  const StoredArray& array(const std::string& path, std::size_t rank) const;
  /// Some element was written.
  bool is_recorded(const std::string& path) const;

  bool has_attribute(const std::string& object, const std::string& attribute) const;
  std::string text(const std::string& object, const std::string& attribute) const;
  std::int64_t integer(const std::string& object, const std::string& attribute) const;
  double real(const std::string& object, const std::string& attribute) const;
  std::vector<std::int64_t> integers(const std::string& object, const std::string& attribute) const;

  /// Box of any numeric dataset as floats. @param out  product(count) elements
  void read_floats(const StoredArray& array, const Sizes& start, const Sizes& count, float* out) const;
  Buffer<float> read_floats(const std::string& path, const Sizes& start, const Sizes& count) const;
  /// First `count` elements of a one-dimensional integer dataset (of all, without `count`).
  std::vector<std::int64_t> read_integers(const std::string& path, std::optional<hsize_t> count = {}) const;
  /// Elements [begin, end) of a one-dimensional integer dataset.
  std::vector<std::int64_t> read_integers(const std::string& path, hsize_t begin, hsize_t end) const;
  std::string bytes(const std::string& path, std::optional<hsize_t> count = {}) const;
  std::string bytes(const std::string& path, hsize_t begin, hsize_t end) const;
  std::vector<std::string> texts(const std::string& path) const;
  /// Stored form of a box.
  void read_stored(const StoredArray& array, const Sizes& start, const Sizes& count, std::byte* out) const;
  /// Reads and decodes every stored chunk of a dataset. @error damaged
  void check_chunks(const StoredArray& array) const;
  const InputFile& raw() const { return raw_; }

  [[noreturn]] void refuse(Errc code, const std::string& field, const std::string& message) const;
  /// Refuses to allocate more than the file can hold.
  void check_budget(const StoredArray& array, std::uint64_t bytes) const;

 private:
  struct Walk;
  void check_version() const;
  void read_progress();
  void walk();
  void add_link(Walk& walk, const std::string& group, const std::string& name, H5L_type_t type);
  void add_dataset(const std::string& path, Handle dataset);
  void add_element(StoredArray& array) const;
  void add_layout(StoredArray& array) const;
  void check_sizes(const StoredArray& array) const;
  void add_external_link(const std::string& path, hid_t group, const std::string& name);
  std::optional<std::string> find_text(hid_t object, const std::string& attribute, const std::string& where) const;
  Handle open_attribute(const std::string& object, const std::string& attribute) const;
  void load_chunk(const StoredArray& array, const Sizes& at, std::vector<std::byte>& stored,
                  std::span<std::byte> decoded) const;
  void read_chunked(const StoredArray& array, const Sizes& start, const Sizes& count, std::byte* out) const;
  void read_at(std::uint64_t offset, std::span<std::byte> out, const std::string& field) const;
  void read_contiguous(const StoredArray& array, const Sizes& start, const Sizes& count, std::byte* out) const;

  std::filesystem::path path_;
  Superblock superblock_;
  InputFile raw_;
  Handle file_;
  LiveProgress progress_;
  std::map<std::string, StoredArray> arrays_;
  std::set<std::string> groups_;
  std::map<std::string, std::string> external_records_;  ///< "/rec/3" -> file name relative to this file's folder
};

}  // namespace headlight::capture::hdf5
