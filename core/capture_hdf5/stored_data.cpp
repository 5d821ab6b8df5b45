// Data of StoredFile: chunks are located through the library, read and decoded by own code.

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include "base/checked.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr std::uint64_t kPieceBytes = 4u << 20;
constexpr std::uint64_t kFreeBudget = 64u << 20;
constexpr std::uint64_t kMaxDeflateRatio = 1100;  // deflate never does better than 1032 : 1
constexpr hsize_t kMaxTableElements = 1u << 26;

hsize_t product(const Sizes& sizes) {
  hsize_t out = 1;
  for (const hsize_t s : sizes) out *= s;
  return out;
}

/// Calls `line(box_offset, outer_offset)` for every run along the last axis of a box, element offsets in the box
/// itself and in an array of shape `outer` at which the box starts at `origin`.
template <class Line>
void for_each_line(const Sizes& box, const Sizes& outer, const Sizes& origin, const Line& line) {
  const std::size_t rank = box.size();
  Sizes at(rank, 0);
  while (true) {
    hsize_t inside = 0, outside = 0;
    for (std::size_t a = 0; a < rank; ++a) {
      inside = inside * box[a] + at[a];
      outside = outside * outer[a] + origin[a] + at[a];
    }
    line(inside, outside);
    std::size_t a = rank - 1;
    while (a > 0 && ++at[a - 1] == box[a - 1]) at[--a] = 0;
    if (a == 0) return;
  }
}

void fill_elements(const StoredArray& array, hsize_t count, std::byte* out) {
  const std::size_t width = array.element_bytes;
  for (hsize_t i = 0; i < count; ++i)
    for (std::size_t b = 0; b < width; ++b) out[i * width + b] = b < sizeof array.fill ? array.fill[b] : std::byte{0};
}

}  // namespace

bool read_stored_chunk(hid_t dataset, const Sizes& at, std::uint64_t chunk_bytes, std::vector<std::byte>& bytes,
                       std::uint32_t& mask) {
  const Gate gate;
  hsize_t size = 0;
  if (H5Dget_chunk_storage_size(dataset, at.data(), &size) < 0) {
    // Older libraries call a chunk that was never written an error, newer ones give 0 bytes.
    const std::string reason = error_stack();
    if (reason.find("not allocated") != std::string::npos) return false;
    throw Error(Errc::damaged, "locating a chunk failed: " + reason);
  }
  if (size == 0) return false;
  // Deflate without any gain adds a little; nothing adds more.
  if (size > chunk_bytes + chunk_bytes / 8 + 1024)
    throw Error(Errc::damaged, fmt::format("a chunk of {} bytes is stored in {}", chunk_bytes, size));
  bytes.resize(size);
#if H5_VERSION_GE(2, 0, 0)
  const herr_t status = H5Dread_chunk1(dataset, H5P_DEFAULT, at.data(), &mask, bytes.data());
#else
  const herr_t status = H5Dread_chunk(dataset, H5P_DEFAULT, at.data(), &mask, bytes.data());
#endif
  if (status < 0) throw_library_error(Errc::damaged, "", "reading a chunk");
  return true;
}

void visit_stored_bytes(hid_t dataset, const Sizes& dims, const Sizes& chunk, std::size_t element_bytes,
                        const InputFile& raw, const std::function<void(std::span<const std::byte>)>& visit) {
  if (dims.empty() || product(dims) == 0) return;
  std::vector<std::byte> bytes;
  std::uint64_t left = 0;
  {
    const Gate gate;
    left = H5Dget_storage_size(dataset);
  }
  if (chunk.empty()) {
    haddr_t address = HADDR_UNDEF;
    {
      const Gate gate;
      address = H5Dget_offset(dataset);
      H5Eclear2(H5E_DEFAULT);
    }
    if (address == HADDR_UNDEF) return;
    for (std::uint64_t at = address; left > 0; at += bytes.size(), left -= bytes.size()) {
      bytes.resize(std::min<std::uint64_t>(kPieceBytes, left));
      raw.read_at(at, bytes);
      visit(bytes);
    }
    return;
  }
  std::uint32_t mask = 0;
  Sizes at(dims.size(), 0);
  while (left > 0) {
    if (read_stored_chunk(dataset, at, product(chunk) * element_bytes, bytes, mask)) {
      visit(bytes);
      left -= std::min<std::uint64_t>(left, bytes.size());
    }
    std::size_t a = dims.size();
    while (a > 0 && (at[a - 1] += chunk[a - 1]) >= dims[a - 1]) at[--a] = 0;
    if (a == 0) return;
  }
}

void StoredFile::read_at(std::uint64_t offset, std::span<std::byte> out, const std::string& field) const {
  struct stat st {};
  const std::uint64_t size = ::fstat(raw_.descriptor(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  const auto end = checked_add<std::uint64_t>(offset, out.size());
  if (!end || *end > size)
    throw Error(Errc::damaged, fmt::format("expected {} bytes of data, the file has {} bytes", out.size(), size),
                {.file = path_.string(), .field = field, .offset = offset, .hint = {}});
  raw_.read_at(offset, out);
}

void StoredFile::check_budget(const StoredArray& array, std::uint64_t bytes) const {
  if (bytes <= kFreeBudget) return;
  const Gate gate;
  const std::uint64_t stored = H5Dget_storage_size(array.dataset);
  if (stored < bytes / kMaxDeflateRatio)
    refuse(Errc::damaged, array.path, fmt::format("{} bytes were asked for, but only {} are stored", bytes, stored));
}

void StoredFile::read_stored(const StoredArray& array, const Sizes& start, const Sizes& count, std::byte* out) const {
  const std::size_t rank = array.dims.size();
  HEADLIGHT_CHECK(start.size() == rank && count.size() == rank);
  for (std::size_t a = 0; a < rank; ++a)
    if (start[a] > array.dims[a] || count[a] > array.dims[a] - start[a])
      refuse(
          Errc::damaged, array.path,
          fmt::format("expected at least {} entries along axis {}, found {}", start[a] + count[a], a, array.dims[a]));
  if (product(count) == 0) return;
  if (array.foreign_filters) {
    const Gate gate;
    const Handle type(H5Dget_type(array.dataset), H5Tclose);
    const Handle space(H5Dget_space(array.dataset), H5Sclose);
    const Handle memory(H5Screate_simple(static_cast<int>(rank), count.data(), nullptr), H5Sclose);
    if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
        H5Dread(array.dataset, type, memory, space, H5P_DEFAULT, out) < 0)
      throw_library_error(Errc::damaged, path_.string(), "reading " + array.path);
  } else if (array.chunk.empty()) {
    read_contiguous(array, start, count, out);
  } else {
    read_chunked(array, start, count, out);
  }
}

void StoredFile::read_contiguous(const StoredArray& array, const Sizes& start, const Sizes& count,
                                 std::byte* out) const {
  const std::size_t width = array.element_bytes, last = count.back() * width;
  haddr_t base = HADDR_UNDEF;
  std::uint64_t stored = 0;
  {
    const Gate gate;
    base = H5Dget_offset(array.dataset);
    stored = H5Dget_storage_size(array.dataset);
    H5Eclear2(H5E_DEFAULT);
  }
  if (base == HADDR_UNDEF) return fill_elements(array, product(count), out);
  const auto need = checked_mul<std::uint64_t>(array.num_elements(), width);
  if (!need || *need > stored) refuse(Errc::damaged, array.path, "has less data than its dimensions need");
  if (count == array.dims) return read_at(base, std::span(out, product(count) * width), array.path);
  for_each_line(count, array.dims, start, [&](hsize_t inside, hsize_t outside) {
    const auto at = checked_add<std::uint64_t>(base, outside * width);
    if (!at) refuse(Errc::damaged, array.path, "lies outside the file");
    read_at(*at, std::span(out + inside * width, last), array.path);
  });
}

/// One chunk, decoded; the fill value where it was never written.
void StoredFile::load_chunk(const StoredArray& array, const Sizes& at, std::vector<std::byte>& stored,
                            std::span<std::byte> decoded) const {
  std::uint32_t mask = 0;
  bool there = false;
  try {
    there = read_stored_chunk(array.dataset, at, decoded.size(), stored, mask);
  } catch (const Error& error) {
    refuse(error.code(), array.path, error.message());
  }
  if (!there) return fill_elements(array, decoded.size() / array.element_bytes, decoded.data());
  if (!decode_chunk(stored, mask, array.element_bytes, array.filters, decoded))
    refuse(Errc::damaged, array.path, fmt::format("the chunk at {} cannot be decoded", fmt::join(at, ",")));
}

void StoredFile::check_chunks(const StoredArray& array) const {
  if (array.num_elements() == 0) return;
  if (array.chunk.empty()) {
    visit_stored_bytes(array.dataset, array.dims, array.chunk, array.element_bytes, raw_, [](auto) {});
    return;
  }
  std::uint64_t left = 0;
  {
    const Gate gate;
    left = H5Dget_storage_size(array.dataset);
  }
  std::vector<std::byte> stored, decoded(product(array.chunk) * array.element_bytes);
  Sizes at(array.dims.size(), 0);
  while (left > 0) {
    stored.clear();
    load_chunk(array, at, stored, decoded);
    left -= std::min<std::uint64_t>(left, stored.size());
    std::size_t a = array.dims.size();
    while (a > 0 && (at[a - 1] += array.chunk[a - 1]) >= array.dims[a - 1]) at[--a] = 0;
    if (a == 0) return;
  }
}

void StoredFile::read_chunked(const StoredArray& array, const Sizes& start, const Sizes& count, std::byte* out) const {
  const std::size_t rank = array.dims.size(), width = array.element_bytes, last = rank - 1;
  const hsize_t chunk_bytes = product(array.chunk) * width;
  std::vector<std::byte> stored, decoded(chunk_bytes);
  Sizes first(rank), at(rank), box(rank), in_chunk(rank), in_out(rank);
  for (std::size_t a = 0; a < rank; ++a) at[a] = first[a] = start[a] / array.chunk[a] * array.chunk[a];
  while (true) {
    for (std::size_t a = 0; a < rank; ++a) {
      const hsize_t begin = std::max(at[a], start[a]);
      box[a] = std::min(at[a] + array.chunk[a], start[a] + count[a]) - begin;
      in_chunk[a] = begin - at[a];
      in_out[a] = begin - start[a];
    }
    load_chunk(array, at, stored, decoded);
    for_each_line(box, array.chunk, in_chunk, [&](hsize_t inside, hsize_t from) {
      hsize_t to = 0, rest = inside / box[last];  // number of the line in the box
      for (std::size_t a = 0, lines = 1; a < last; ++a) {
        lines = 1;
        for (std::size_t b = a + 1; b < last; ++b) lines *= box[b];
        to = to * count[a] + in_out[a] + rest / lines;
        rest %= lines;
      }
      to = to * count[last] + in_out[last];
      std::memcpy(out + to * width, decoded.data() + from * width, box[last] * width);
    });
    std::size_t a = rank;
    while (a > 0 && (at[a - 1] += array.chunk[a - 1]) >= start[a - 1] + count[a - 1]) {
      at[a - 1] = first[a - 1];
      --a;
    }
    if (a == 0) return;
  }
}

void StoredFile::read_floats(const StoredArray& array, const Sizes& start, const Sizes& count, float* out) const {
  const hsize_t elements = product(count);
  if (!array.element || *array.element == Element::text) refuse(Errc::damaged, array.path, "expected numbers");
  if (*array.element == Element::f32) return read_stored(array, start, count, reinterpret_cast<std::byte*>(out));
  std::vector<std::byte> stored(elements * array.element_bytes);
  read_stored(array, start, count, stored.data());
  widen_elements(*array.element, stored.data(), elements, out);
}

Buffer<float> StoredFile::read_floats(const std::string& path, const Sizes& start, const Sizes& count) const {
  const StoredArray& from = array(path, count.size());
  const auto elements = checked_product(std::span<const hsize_t>(count));
  const auto bytes = elements ? checked_mul<hsize_t>(*elements, sizeof(float)) : std::nullopt;
  if (!bytes) refuse(Errc::damaged, path, "has impossible dimensions");
  check_budget(from, *bytes);
  Buffer<float> out(*elements);
  read_floats(from, start, count, out.data());
  return out;
}

std::vector<std::int64_t> StoredFile::read_integers(const std::string& path, std::optional<hsize_t> count) const {
  return read_integers(path, 0, count.value_or(array(path, 1).dims[0]));
}

std::vector<std::int64_t> StoredFile::read_integers(const std::string& path, hsize_t begin, hsize_t end) const {
  const StoredArray& from = array(path, 1);
  const Element element = *from.element;
  if (element != Element::u8 && element != Element::i16 && element != Element::i32 && element != Element::i64)
    refuse(Errc::damaged, path, "expected whole numbers");
  if (begin > end || end > from.dims[0] || end - begin > kMaxTableElements)
    refuse(Errc::damaged, path, fmt::format("expected entries {}..{}, found {}", begin, end, from.dims[0]));
  check_budget(from, (end - begin) * sizeof(std::int64_t));
  const hsize_t count = end - begin;
  std::vector<std::byte> stored(count * from.element_bytes);
  read_stored(from, {begin}, {count}, stored.data());
  std::vector<std::int64_t> out(count);
  for (hsize_t i = 0; i < count; ++i) {
    const std::byte* at = stored.data() + i * from.element_bytes;
    const auto load = [&]<class T>(T value) {
      std::memcpy(&value, at, sizeof value);
      return static_cast<std::int64_t>(value);
    };
    out[i] = element == Element::u8    ? load(std::uint8_t{})
             : element == Element::i16 ? load(std::int16_t{})
             : element == Element::i32 ? load(std::int32_t{})
                                       : load(std::int64_t{});
  }
  return out;
}

std::string StoredFile::bytes(const std::string& path, std::optional<hsize_t> count) const {
  return bytes(path, 0, count.value_or(array(path, 1).dims[0]));
}

std::string StoredFile::bytes(const std::string& path, hsize_t begin, hsize_t end) const {
  const StoredArray& from = array(path, 1);
  if (*from.element != Element::u8) refuse(Errc::damaged, path, "expected bytes");
  if (begin > end || end > from.dims[0])
    refuse(Errc::damaged, path, fmt::format("expected bytes {}..{}, found {}", begin, end, from.dims[0]));
  check_budget(from, end - begin);
  std::string out(end - begin, '\0');
  read_stored(from, {begin}, {end - begin}, reinterpret_cast<std::byte*>(out.data()));
  return out;
}

std::vector<std::string> StoredFile::texts(const std::string& path) const {
  const StoredArray& from = array(path, 1);
  if (*from.element != Element::text) refuse(Errc::damaged, path, "expected texts");
  const auto total = checked_mul<hsize_t>(from.dims[0], from.element_bytes);
  if (!total || from.dims[0] > kMaxTableElements) refuse(Errc::damaged, path, "has too many texts");
  check_budget(from, *total);
  std::string packed(*total, '\0');
  read_stored(from, {0}, {from.dims[0]}, reinterpret_cast<std::byte*>(packed.data()));
  std::vector<std::string> out;
  for (hsize_t i = 0; i < from.dims[0]; ++i) {
    std::string text = packed.substr(i * from.element_bytes, from.element_bytes);
    text.resize(std::min(text.find('\0'), text.size()));
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace headlight::capture::hdf5
