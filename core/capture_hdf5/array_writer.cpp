#include "core/capture_hdf5/array_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include <fmt/format.h>

namespace headlight::capture::hdf5 {
namespace {

constexpr std::size_t kMaxAttributeText = 32 << 10;
constexpr std::size_t kBatchBytes = 16 << 20;  // chunks that are encoded at a time

hsize_t product(const Sizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), hsize_t{1}, std::multiplies<>());
}

Handle scalar_space() {
  return own(H5Screate(H5S_SCALAR), H5Sclose, Errc::internal, "", "making a dataspace");
}

Handle simple_space(const Sizes& dims, const Sizes& max_dims) {
  return own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), max_dims.data()), H5Sclose, Errc::internal,
             "", "making a dataspace");
}

void put_attribute(hid_t object, const std::string& name, hid_t type, const Handle& space, const void* data) {
  const Handle attribute = own(H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                               Errc::io, "", "creating attribute " + name);
  if (H5Awrite(attribute, type, data) < 0) throw_library_error(Errc::io, "", "writing attribute " + name);
}

struct AttributePut {
  hid_t object;
  const std::string& name;

  void operator()(const std::string& value) const {
    const std::string text = pack_texts({&value, 1}, std::min(value.size(), kMaxAttributeText));
    const Handle type = text_type(text.size());
    put_attribute(object, name, type, scalar_space(), text.c_str());
  }
  void operator()(std::uint8_t value) const { put(H5T_STD_U8LE, value); }
  void operator()(std::int32_t value) const { put(H5T_STD_I32LE, value); }
  void operator()(std::int64_t value) const { put(H5T_STD_I64LE, value); }
  void operator()(float value) const { put(H5T_IEEE_F32LE, value); }
  void operator()(double value) const { put(H5T_IEEE_F64LE, value); }
  void operator()(const std::vector<std::int32_t>& values) const {
    const Sizes dims{values.size()};
    put_attribute(object, name, H5T_STD_I32LE, simple_space(dims, dims), values.data());
  }
  void operator()(const std::vector<std::string>& values) const {
    std::size_t longest = 1;
    for (const std::string& value : values) longest = std::max(longest, std::min(value.size(), kMaxAttributeText));
    const std::string packed = pack_texts(values, longest);
    const Sizes dims{values.size()};
    const Handle type = text_type(longest);
    put_attribute(object, name, type, simple_space(dims, dims), packed.data());
  }

 private:
  template <class T>
  void put(hid_t type, T value) const {
    put_attribute(object, name, type, scalar_space(), &value);
  }
};

Handle creation_list(const ArraySpec& spec, hid_t type) {
  Handle list = own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, Errc::internal, "", "preparing a dataset");
  bool ok = H5Pset_obj_track_times(list, false) >= 0;
  ok = ok && H5Pset_attr_phase_change(list, 64, 48) >= 0;  // attributes stay in the object header
  if (spec.chunk.empty()) {
    ok = ok && H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY) >= 0;
  } else {
    ok = ok && H5Pset_chunk(list, static_cast<int>(spec.chunk.size()), spec.chunk.data()) >= 0;
    ok = ok && H5Pset_alloc_time(list, H5D_ALLOC_TIME_INCR) >= 0;
    if (spec.filters.shuffle) ok = ok && H5Pset_shuffle(list) >= 0;
    if (spec.filters.deflate) ok = ok && H5Pset_deflate(list, 1) >= 0;
  }
  ok = ok && H5Pset_fill_time(list, H5D_FILL_TIME_IFSET) >= 0;
  if (spec.element != Element::text) {
    std::byte value[8] = {};
    convert_value(spec.element, spec.fill, value);
    ok = ok && H5Pset_fill_value(list, type, value) >= 0;
  }
  if (!ok) throw_library_error(Errc::internal, "", "preparing dataset " + spec.path);
  return list;
}

}  // namespace

void write_attribute(hid_t object, const std::string& name, const AttributeValue& value) {
  const Gate gate;
  std::visit(AttributePut{object, name}, value);
}

void rewrite_attribute(hid_t object, const std::string& name, std::int64_t value) {
  const Gate gate;
  const Handle attribute =
      own(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, Errc::io, "", "opening attribute " + name);
  if (H5Awrite(attribute, H5T_NATIVE_INT64, &value) < 0) throw_library_error(Errc::io, "", "writing attribute " + name);
}

/// The part of a box that lies in one chunk.
struct ArrayWriter::Piece {
  Sizes start, count;  // in the dataset
  Sizes offset;        // from the start of the box
  Sizes chunk_start;
  bool whole = false;
};

ArrayWriter::ArrayWriter(hid_t file, ArraySpec spec) : spec_(std::move(spec)), dims_(spec_.dims) {
  const Gate gate;
  if (spec_.full.empty()) spec_.full = spec_.dims;
  HEADLIGHT_CHECK(spec_.full.size() == spec_.dims.size());
  for (hsize_t& edge : spec_.chunk) edge = std::max<hsize_t>(edge, 1);
  Sizes max_dims = spec_.full;
  if (spec_.growing_axis >= 0) max_dims[static_cast<std::size_t>(spec_.growing_axis)] = H5S_UNLIMITED;
  const Handle own_type = spec_.element == Element::text ? text_type(spec_.text_bytes) : Handle();
  const hid_t type = own_type.is_open() ? own_type.get() : library_type(spec_.element);
  const Handle space = simple_space(spec_.dims, max_dims);
  const Handle list = creation_list(spec_, type);
  dataset_ = own(H5Dcreate2(file, spec_.path.c_str(), type, space, H5P_DEFAULT, list, H5P_DEFAULT), H5Dclose, Errc::io,
                 "", "creating dataset " + spec_.path);
  if (!spec_.units.empty()) write_attribute(dataset_, "units", spec_.units);
  if (!spec_.long_name.empty()) write_attribute(dataset_, "long_name", spec_.long_name);
  if (!spec_.axes.empty()) write_attribute(dataset_, "axes", spec_.axes);
  if (spec_.fill_is_missing && spec_.element != Element::text) {
    std::byte value[8] = {};
    convert_value(spec_.element, spec_.fill, value);
    put_attribute(dataset_, "_FillValue", type, scalar_space(), value);
  }
  if (spec_.element == Element::bf16) write_attribute(dataset_, "encoding", "bfloat16");
  if (spec_.element == Element::log8) {
    write_attribute(dataset_, "code_name", "log2u8");
    write_attribute(dataset_, "code_range_log2", std::int32_t{16});
    write_attribute(dataset_, "code_version", std::int32_t{1});
  }
  for (const auto& [name, value] : spec_.attributes) write_attribute(dataset_, name, value);
}

std::size_t ArrayWriter::element_bytes() const {
  return spec_.element == Element::text ? spec_.text_bytes : stored_bytes(spec_.element);
}

void ArrayWriter::grow(int axis, hsize_t size) {
  hsize_t& dim = dims_[static_cast<std::size_t>(axis)];
  if (size <= dim) return;
  const Gate gate;
  dim = size;
  dirty_ = true;
  if (H5Dset_extent(dataset_, dims_.data()) < 0) throw_library_error(Errc::io, "", "growing dataset " + spec_.path);
}

// `box` is the shape of `out`; elements of the piece that do not fill it are left as they are.
void ArrayWriter::gather(const Piece& piece, const Sizes& box, const void* source,
                         const std::vector<std::ptrdiff_t>& strides, std::byte* out) const {
  const std::size_t rank = box.size(), last = rank - 1;
  const auto* bytes = static_cast<const std::byte*>(source);
  const std::size_t from_size = spec_.element == Element::text ? spec_.text_bytes : source_bytes(spec_.element);
  Sizes at(rank, 0);
  while (true) {
    std::ptrdiff_t from = 0;
    hsize_t to = 0;
    for (std::size_t a = 0; a < rank; ++a) {
      from += static_cast<std::ptrdiff_t>(piece.offset[a] + at[a]) * strides[a];
      to = to * box[a] + (piece.start[a] - piece.chunk_start[a]) + at[a];
    }
    const std::byte* line = bytes + from * static_cast<std::ptrdiff_t>(from_size);
    if (spec_.element == Element::text)
      std::memcpy(out + to * spec_.text_bytes, line, piece.count[last] * spec_.text_bytes);
    else
      convert_elements(spec_.element, line, strides[last], piece.count[last], out + to * element_bytes());
    std::size_t a = last;
    while (a > 0 && ++at[a - 1] == piece.count[a - 1]) at[--a] = 0;
    if (a == 0) return;
  }
}

void ArrayWriter::write_partial(const Piece& piece, const void* source, const std::vector<std::ptrdiff_t>& strides) {
  Piece tight = piece;
  tight.chunk_start = piece.start;
  std::vector<std::byte> packed(product(piece.count) * element_bytes());
  gather(tight, piece.count, source, strides, packed.data());
  const Gate gate;
  const Handle memory = simple_space(piece.count, piece.count);
  const Handle file = own(H5Dget_space(dataset_), H5Sclose, Errc::io, "", "writing " + spec_.path);
  const Handle type = own(H5Dget_type(dataset_), H5Tclose, Errc::io, "", "writing " + spec_.path);
  if (H5Sselect_hyperslab(file, H5S_SELECT_SET, piece.start.data(), nullptr, piece.count.data(), nullptr) < 0 ||
      H5Dwrite(dataset_, type, memory, file, H5P_DEFAULT, packed.data()) < 0)
    throw_library_error(Errc::io, "", "writing " + spec_.path);
}

void ArrayWriter::write_whole(std::span<const Piece> pieces, const void* source,
                              const std::vector<std::ptrdiff_t>& strides, ThreadPool* pool) {
  const std::size_t elements = product(spec_.chunk), bytes = elements * element_bytes();
  const std::size_t batch = std::max<std::size_t>(1, kBatchBytes / bytes);
  std::vector<EncodedChunk> encoded(std::min(batch, pieces.size()));
  for (std::size_t first = 0; first < pieces.size(); first += batch) {
    const std::size_t count = std::min(batch, pieces.size() - first);
    const auto encode = [&](std::int64_t i, int) {
      const Piece& piece = pieces[first + static_cast<std::size_t>(i)];
      std::vector<std::byte> raw(bytes);
      if (piece.count != spec_.chunk && spec_.element != Element::text) {  // padding behind the announced size
        std::byte value[8] = {};
        convert_value(spec_.element, spec_.fill, value);
        for (std::size_t e = 0; e < elements; ++e) std::memcpy(&raw[e * element_bytes()], value, element_bytes());
      }
      gather(piece, spec_.chunk, source, strides, raw.data());
      encoded[static_cast<std::size_t>(i)] = encode_chunk(std::move(raw), element_bytes(), spec_.filters);
    };
    if (pool != nullptr && count > 1)
      pool->parallel_for(static_cast<std::int64_t>(count), encode);
    else
      for (std::size_t i = 0; i < count; ++i) encode(static_cast<std::int64_t>(i), 0);
    const Gate gate;
    for (std::size_t i = 0; i < count; ++i)
      if (H5Dwrite_chunk(dataset_, H5P_DEFAULT, encoded[i].mask, pieces[first + i].chunk_start.data(),
                         encoded[i].bytes.size(), encoded[i].bytes.data()) < 0)
        throw_library_error(Errc::io, "", "writing " + spec_.path);
  }
}

void ArrayWriter::write(const Sizes& start, const Sizes& count, const void* source,
                        const std::vector<std::ptrdiff_t>& strides, ThreadPool* pool) {
  const std::size_t rank = dims_.size();
  HEADLIGHT_CHECK(start.size() == rank && count.size() == rank && strides.size() == rank);
  for (std::size_t a = 0; a < rank; ++a) HEADLIGHT_CHECK(start[a] + count[a] <= dims_[a]);
  if (product(count) == 0) return;
  dirty_ = true;
  const Sizes& edge = spec_.chunk.empty() ? spec_.dims : spec_.chunk;
  std::vector<Piece> whole;
  Sizes first(rank), at(rank);
  for (std::size_t a = 0; a < rank; ++a) at[a] = first[a] = start[a] / edge[a];
  while (true) {
    Piece piece{Sizes(rank), Sizes(rank), Sizes(rank), Sizes(rank), !spec_.chunk.empty()};
    for (std::size_t a = 0; a < rank; ++a) {
      const hsize_t chunk_end = (at[a] + 1) * edge[a], end = std::min(start[a] + count[a], chunk_end);
      piece.chunk_start[a] = at[a] * edge[a];
      piece.start[a] = std::max(start[a], piece.chunk_start[a]);
      piece.count[a] = end - piece.start[a];
      piece.offset[a] = piece.start[a] - start[a];
      piece.whole = piece.whole && piece.start[a] == piece.chunk_start[a] && end >= std::min(chunk_end, spec_.full[a]);
    }
    if (piece.whole)
      whole.push_back(std::move(piece));
    else
      write_partial(piece, source, strides);
    std::size_t a = rank;
    while (a > 0 && (++at[a - 1]) * edge[a - 1] >= start[a - 1] + count[a - 1]) {
      at[a - 1] = first[a - 1];
      --a;
    }
    if (a == 0) break;
  }
  write_whole(whole, source, strides, pool);
}

void ArrayWriter::write(const Sizes& start, const Sizes& count, const void* source, ThreadPool* pool) {
  std::vector<std::ptrdiff_t> strides(count.size(), 1);
  for (std::size_t a = count.size() - 1; a > 0; --a)
    strides[a - 1] = strides[a] * static_cast<std::ptrdiff_t>(count[a]);
  write(start, count, source, strides, pool);
}

void ArrayWriter::append(const void* source, std::size_t count) {
  HEADLIGHT_CHECK(dims_.size() == 1 && spec_.growing_axis == 0);
  if (count == 0) return;
  const hsize_t begin = dims_[0];
  grow(0, begin + count);
  write({begin}, {count}, source);
}

void ArrayWriter::flush() {
  if (!dirty_) return;
  const Gate gate;
  if (H5Dflush(dataset_) < 0) throw_library_error(Errc::io, "", "flushing " + spec_.path);
  dirty_ = false;
}

}  // namespace headlight::capture::hdf5
