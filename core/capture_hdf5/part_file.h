#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/capture_hdf5/array_writer.h"
#include "core/capture_hdf5/file_driver.h"
#include "core/capture_hdf5/live_progress.h"

namespace headlight::capture::hdf5 {

/// "layer,head" to its names.
std::vector<std::string> split_axes(const std::string& axes);

/// A capture file while it is being written: `.<name>.<random>.part` beside its final path.
///
///     define   groups, datasets, attributes, dimension scales; all shapes known or without limit
///     append   single writer, multiple readers: growing, writing and flushing of existing datasets only
///     seal     attributes that were created before get their final values in place; nothing is allocated, so that a
///              full disk cannot spoil a file whose data are complete
///
/// The order is enforced here, because the library accepts what its own documentation forbids. A failing disk
/// (see WriteLatch) ends every call with Error{io} that names the part file, which stays and can be recovered.
class PartFile {
 public:
  enum class State { define, append, seal, closed };

  /// @error output_exists, io
  PartFile(std::filesystem::path path, bool overwrite, int compression_threads, bool reproducible);
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;
  ~PartFile();  ///< the part file stays, unless nothing but definitions was written

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& part() const { return part_; }
  State state() const { return state_; }
  bool is_reproducible() const { return reproducible_; }
  ThreadPool& pool() { return pool_; }

  // define
  void create_group(const std::string& path);
  void set_attribute(const std::string& object, const std::string& name, const AttributeValue& value);
  ArrayWriter& create_array(ArraySpec spec);
  /// Whole one-dimensional text or bytes at once.
  void create_bytes(const std::string& path, const std::string& axis, std::string_view bytes,
                    const std::string& long_name);
  void create_texts(const std::string& path, const std::string& axis, const std::vector<std::string>& texts,
                    std::size_t longest, const std::string& long_name);
  /// Coordinates of a dimension; `values` may grow later.
  void create_scale(const std::string& path, const std::vector<std::int32_t>& values, bool grows,
                    const std::string& long_name, const std::string& units = "1");
  /// A dimension without coordinates; may grow.
  void create_dimension(const std::string& path, hsize_t size);
  void create_external_link(const std::string& path, const std::string& file, const std::string& object);
  /// Attaches every dataset's axes to the scales of its group or the nearest group above.
  void start_append();

  // append
  ArrayWriter& array(const std::string& path);
  bool has_array(const std::string& path) const { return arrays_.contains(path); }
  /// Calls `visit(array, axis, index)` for every growing axis of the arrays below `group`.
  template <class Visit>
  void for_each_axis(const std::string& group, const Visit& visit) {
    for (const std::string& path : order_) {
      if (!path.starts_with(group + "/")) continue;
      ArrayWriter& each = *arrays_.at(path);
      const auto axes = split_axes(each.spec().axes);
      for (std::size_t a = 0; a < axes.size(); ++a)
        if (each.spec().growing_axis == static_cast<int>(a) || each.spec().full[a] > each.dims()[a])
          visit(each, std::string_view(axes[a]), static_cast<int>(a));
    }
  }
  /// All arrays in the order of creation.
  template <class Visit>
  void for_each_array(const Visit& visit) {
    for (const std::string& path : order_) visit(*arrays_.at(path));
  }
  /// Makes a scale `size` long; coordinates continue.
  void grow_scale(const std::string& path, hsize_t size);
  void add_journal(std::int64_t event, std::int64_t record, std::int64_t detail);
  /// Data first, then progress: a reader never sees a counter ahead of its data. Every 256 MB or 30 s the disk is
  /// synchronised as well.
  void flush(LiveProgress progress);
  /// Throws if the disk failed. Called after every operation by whoever uses array() directly.
  void check_disk();

  // seal
  void begin_seal();
  void set_final(const std::string& object, const std::string& attribute, std::int64_t value);
  void remove_link(const std::string& path);
  /// Closes, synchronises and renames. @error output_exists  the sealed part file stays and is named
  void commit();

  /// After a failure: closes what is open and leaves the part file.
  void abandon() noexcept;

 private:
  void require(State state) const;
  void attach_scales();
  void close_arrays();
  Handle open_file(unsigned flags);
  void sync_disk();

  std::filesystem::path path_, part_;
  bool overwrite_, reproducible_;
  ThreadPool pool_;
  State state_ = State::define;
  WriteLatch latch_;
  int lock_fd_ = -1;  ///< shared lock for the whole life: recover refuses while it is held
  Handle file_;
  std::map<std::string, std::unique_ptr<ArrayWriter>> arrays_;
  std::vector<std::string> order_;  ///< of creation
  std::int64_t sequence_ = 0;
  std::uint64_t synced_bytes_ = 0;
  std::int64_t synced_at_ms_ = 0;
};

/// Milliseconds since 1970, or SOURCE_DATE_EPOCH (else 0) when `reproducible`.
std::int64_t capture_time_ms(bool reproducible);
/// ISO 8601 UTC of it.
std::string capture_time_text(bool reproducible);
/// Random version 4, or derived from `seed_text` when `reproducible`.
std::string capture_uuid(bool reproducible, const std::string& seed_text);

}  // namespace headlight::capture::hdf5
