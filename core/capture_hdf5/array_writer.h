#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture_hdf5/chunk_codec.h"
#include "core/capture_hdf5/element.h"

namespace headlight::capture::hdf5 {

using Sizes = std::vector<hsize_t>;

/// A count as the library's type.
inline hsize_t extent(std::int64_t n) {
  return static_cast<hsize_t>(n);
}

using AttributeValue = std::variant<std::string, std::uint8_t, std::int32_t, std::int64_t, float, double,
                                    std::vector<std::int32_t>, std::vector<std::string>>;
using Attributes = std::vector<std::pair<std::string, AttributeValue>>;

/// Creates an attribute of a group or dataset. Strings are fixed-length UTF-8, cut at 32 KiB.
void write_attribute(hid_t object, const std::string& name, const AttributeValue& value);
/// Overwrites an existing one of the same type and length.
void rewrite_attribute(hid_t object, const std::string& name, std::int64_t value);

/// Everything that is decided about a dataset when it is created.
struct ArraySpec {
  std::string path;
  std::string axes;  ///< "layer,head,query": names of dimension scales, also stored as an attribute
  Element element = Element::f32;
  std::size_t text_bytes = 0;  ///< length of Element::text
  Sizes dims;                  ///< at creation
  Sizes full;                  ///< what the dimensions will be when nothing stops the run; empty: as dims
  int growing_axis = -1;       ///< axis without limit
  Sizes chunk;                 ///< empty: contiguous and allocated at once, so that a killed writer leaves no zeros
  FilterSet filters;
  double fill = std::numeric_limits<double>::quiet_NaN();
  bool fill_is_missing = true;  ///< attribute _FillValue: the fill value means "not recorded"
  std::string units, long_name;
  Attributes attributes;
};

/// An open dataset that is being written.
class ArrayWriter {
 public:
  ArrayWriter(hid_t file, ArraySpec spec);

  const ArraySpec& spec() const { return spec_; }
  hid_t id() const { return dataset_; }
  const Sizes& dims() const { return dims_; }
  std::size_t element_bytes() const;

  /// Makes axis `axis` at least `size` long.
  void grow(int axis, hsize_t size);

  /// Box [start, start + count), inside the current dimensions. `source` is of the element's source type; element
  /// (i0, i1, ...) of the box lies at source[i0 * strides[0] + ...]. Whole chunks are encoded by `pool` and written
  /// past the library's pipeline; a chunk that reaches past `full` is padded.
  void write(const Sizes& start, const Sizes& count, const void* source, const std::vector<std::ptrdiff_t>& strides,
             ThreadPool* pool);
  /// The same from tightly packed data.
  void write(const Sizes& start, const Sizes& count, const void* source, ThreadPool* pool = nullptr);
  /// `count` elements behind the end of a one-dimensional array.
  void append(const void* source, std::size_t count);

  void flush();  ///< to the operating system, data before what refers to them
  void close() { dataset_.reset(); }

 private:
  struct Piece;
  void gather(const Piece& piece, const Sizes& box, const void* source, const std::vector<std::ptrdiff_t>& strides,
              std::byte* out) const;
  void write_partial(const Piece& piece, const void* source, const std::vector<std::ptrdiff_t>& strides);
  void write_whole(std::span<const Piece> pieces, const void* source, const std::vector<std::ptrdiff_t>& strides,
                   ThreadPool* pool);

  ArraySpec spec_;
  Sizes dims_;
  Handle dataset_;
  bool dirty_ = true;
};

}  // namespace headlight::capture::hdf5
