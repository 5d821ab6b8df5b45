#include "core/capture_hdf5/stored_file.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/checked.h"
#include "core/capture_hdf5/layout.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxObjects = 20'000, kMaxName = 255, kMaxRank = 6;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 45, kMaxChunkBytes = 64u << 20, kMaxChunks = 1u << 26;
constexpr std::size_t kMaxAttributeBytes = 1u << 20;

struct Link {
  std::string name;
  H5L_type_t type;
};

struct LinkList {
  std::vector<Link> links;
  std::size_t limit;
};

herr_t collect_link(hid_t, const char* name, const H5L_info_t* info, void* list) {
  auto& out = *static_cast<LinkList*>(list);
  if (out.links.size() >= out.limit) return 1;
  out.links.push_back({name, info->type});
  return 0;
}

}  // namespace

hsize_t StoredArray::num_elements() const {
  hsize_t count = 1;
  for (const hsize_t d : dims) count *= d;  // bounded when it was validated
  return count;
}

struct StoredFile::Walk {
  struct Group {
    std::string path;  // "" = root
    int depth;
  };
  std::vector<Group> open;
  std::size_t objects = 0;
};

void StoredFile::refuse(Errc code, const std::string& field, const std::string& message) const {
  throw Error(code, message, {.file = path_.string(), .field = field, .offset = {}, .hint = {}});
}

StoredFile::StoredFile(std::filesystem::path path)
    : path_(std::move(path)), superblock_(read_superblock(path_)), raw_(path_) {
  const Gate gate;
  const Handle access = make_access_list();
  unsigned flags = H5F_ACC_RDONLY;
  if ((superblock_.flags & Superblock::kSwmr) != 0) flags |= H5F_ACC_SWMR_READ;
  const hid_t id = H5Fopen(path_.c_str(), flags, access);
  if (id < 0 && superblock_.flags == Superblock::kWriting)
    refuse(Errc::damaged, "superblock",
           "was never completed: the program that wrote it ended before anything was kept");
  file_ = own(id, H5Fclose, Errc::damaged, path_.string(), "opening the file");
  groups_.insert("/");
  check_version();
  read_progress();
  walk();
}

// Before the walk: a writer may go on between the two, and then the counters would be ahead of the sizes seen.
void StoredFile::read_progress() {
  const std::string path = "/live/progress";
  if (H5Lexists(file_, "live", H5P_DEFAULT) <= 0 || H5Lexists(file_, path.c_str(), H5P_DEFAULT) <= 0)
    refuse(Errc::damaged, path, "is missing");
  add_dataset(path, own(H5Dopen2(file_, path.c_str(), H5P_DEFAULT), H5Dclose, Errc::damaged, path_.string(),
                        "opening " + path));
  const auto values = read_integers(path);
  if (values.size() != 16 || values[0] != LiveProgress::kMagic)
    refuse(Errc::damaged, path, "expected 16 counters that begin with their signature");
  std::array<std::int64_t, 16> packed{};
  std::copy(values.begin(), values.end(), packed.begin());
  progress_ = LiveProgress::unpack(packed);
  arrays_.clear();
}

void StoredFile::check_version() const {
  if (H5Aexists(file_, "headlight_version") <= 0)
    refuse(Errc::bad_format, "/@headlight_version", "is an HDF5 file, but no capture: the attribute is missing");
  const auto version = integers("/", "headlight_version");
  if (version.size() != 2 || version[0] < 1)
    refuse(Errc::bad_format, "/@headlight_version", "expected a major and a minor number");
  if (version[0] > kMajorVersion)
    refuse(Errc::bad_version, "/@headlight_version",
           fmt::format("expected format version {}, found {}.{}: a newer Headlight wrote it", kMajorVersion, version[0],
                       version[1]));
}

void StoredFile::walk() {
  Walk walk;
  walk.open.push_back({"", 0});
  while (!walk.open.empty()) {
    const Walk::Group group = walk.open.back();
    walk.open.pop_back();
    groups_.insert(group.path.empty() ? "/" : group.path);
    const Handle id = own(H5Gopen2(file_, group.path.empty() ? "/" : group.path.c_str(), H5P_DEFAULT), H5Gclose,
                          Errc::damaged, path_.string(), "opening group " + group.path);
    LinkList list{{}, group.path == "/rec" ? kMaxRecords : kMaxObjects};
    hsize_t at = 0;
    const herr_t status = H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, &at, collect_link, &list);
    if (status < 0) throw_library_error(Errc::damaged, path_.string(), "listing group " + group.path);
    if (status > 0) refuse(Errc::damaged, group.path, fmt::format("holds more than {} objects", list.limit));
    for (const Link& link : list.links) {
      if (link.name.size() > kMaxName)
        refuse(Errc::damaged, group.path,
               fmt::format("holds a name of {} bytes, at most {} are allowed", link.name.size(), kMaxName));
      const std::string child = group.path + "/" + link.name;
      if (link.type == H5L_TYPE_SOFT) continue;  // never followed
      if (link.type == H5L_TYPE_EXTERNAL) {
        add_external_link(child, id, link.name);
        continue;
      }
      if (link.type != H5L_TYPE_HARD)
        refuse(Errc::damaged, child, "is a user-defined link, which captures do not have");
      if (++walk.objects > kMaxObjects)
        refuse(Errc::damaged, child, fmt::format("the file holds more than {} objects", kMaxObjects));
      Handle object =
          own(H5Oopen(id, link.name.c_str(), H5P_DEFAULT), H5Oclose, Errc::damaged, path_.string(), "opening " + child);
      const H5I_type_t kind = H5Iget_type(object);
      if (kind == H5I_DATASET) {
        add_dataset(child, std::move(object));
      } else if (kind == H5I_GROUP) {
        if (group.depth >= kMaxDepth) refuse(Errc::damaged, child, "groups are nested too deeply");
        walk.open.push_back({child, group.depth + 1});
      }
    }
  }
}

// Only records of a corpus, only files in a folder beside this one.
void StoredFile::add_external_link(const std::string& path, hid_t group, const std::string& name) {
  H5L_info_t info{};
  if (H5Lget_info(group, name.c_str(), &info, H5P_DEFAULT) < 0 || info.u.val_size > 8192)
    refuse(Errc::damaged, path, "is an external link that cannot be read");
  std::vector<char> value(info.u.val_size);
  const char *file = nullptr, *object = nullptr;
  unsigned flags = 0;
  if (H5Lget_val(group, name.c_str(), value.data(), value.size(), H5P_DEFAULT) < 0 ||
      H5Lunpack_elink_val(value.data(), value.size(), &flags, &file, &object) < 0)
    refuse(Errc::damaged, path, "is an external link that cannot be read");
  const std::string target(file), inside(object);
  const std::filesystem::path relative(target);
  bool ok = path.starts_with("/rec/") && inside == "/rec/0" && relative.is_relative() && !target.empty();
  for (const auto& part : relative) ok = ok && part != "..";
  ok = ok && std::distance(relative.begin(), relative.end()) == 2 && relative.extension() == ".h5";
  if (!ok)
    refuse(Errc::damaged, path,
           fmt::format("links to '{}', expected a record file in a folder beside this file", target));
  external_records_[path] = target;
}

void StoredFile::add_dataset(const std::string& path, Handle dataset) {
  StoredArray array;
  array.path = path;
  array.dataset = std::move(dataset);
  add_element(array);
  const Handle space = own(H5Dget_space(array.dataset), H5Sclose, Errc::damaged, path_.string(), "reading " + path);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0 || rank > static_cast<int>(kMaxRank))
    refuse(Errc::damaged, path, fmt::format("expected at most {} dimensions, found {}", kMaxRank, rank));
  array.dims.resize(static_cast<std::size_t>(rank));
  if (rank > 0 && H5Sget_simple_extent_dims(space, array.dims.data(), nullptr) != rank)
    throw_library_error(Errc::damaged, path_.string(), "reading the dimensions of " + path);
  if (H5Sget_simple_extent_type(space) == H5S_NULL) array.dims = {0};
  add_layout(array);
  check_sizes(array);
  arrays_.emplace(path, std::move(array));
}

void StoredFile::add_element(StoredArray& array) const {
  const Handle type =
      own(H5Dget_type(array.dataset), H5Tclose, Errc::damaged, path_.string(), "reading the type of " + array.path);
  for (const H5T_class_t forbidden : {H5T_VLEN, H5T_REFERENCE})
    if (H5Tdetect_class(type, forbidden) > 0)
      refuse(Errc::damaged, array.path, "has a variable-length or reference type, which captures do not have");
  const H5T_class_t kind = H5Tget_class(type);
  array.element_bytes = H5Tget_size(type);
  if (array.element_bytes == 0 || array.element_bytes > kMaxAttributeBytes)
    refuse(Errc::damaged, array.path, fmt::format("has elements of {} bytes", array.element_bytes));
  if (kind == H5T_STRING) {
    if (H5Tis_variable_str(type) > 0)
      refuse(Errc::damaged, array.path, "has a variable-length type, which captures do not have");
    array.element = Element::text;
    return;
  }
  for (const Element element :
       {Element::u8, Element::i16, Element::i32, Element::i64, Element::f16, Element::bf16, Element::f32, Element::f64})
    if (H5Tequal(type, library_type(element)) > 0) array.element = element;
  if (array.element == Element::u8 && find_text(array.dataset, "code_name", array.path) == "log2u8")
    array.element = Element::log8;
  if (array.element == Element::bf16 && find_text(array.dataset, "encoding", array.path) != "bfloat16")
    array.element.reset();
}

void StoredFile::add_layout(StoredArray& array) const {
  const Handle list =
      own(H5Dget_create_plist(array.dataset), H5Pclose, Errc::damaged, path_.string(), "reading " + array.path);
  if (H5Pget_external_count(list) != 0) refuse(Errc::damaged, array.path, "keeps its data in another file");
  const H5D_layout_t layout = H5Pget_layout(list);
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)
    refuse(Errc::damaged, array.path, "is a virtual dataset, which captures do not have");
  if (layout == H5D_CHUNKED) {
    array.chunk.resize(array.dims.size());
    if (H5Pget_chunk(list, static_cast<int>(array.chunk.size()), array.chunk.data()) !=
        static_cast<int>(array.dims.size()))
      refuse(Errc::damaged, array.path, "has chunks of another rank than its own");
  }
  if (layout == H5D_COMPACT) array.foreign_filters = true;  // lies in the header: the library reads it
  const int filters = H5Pget_nfilters(list);
  for (int f = 0; f < filters; ++f) {
    unsigned flags = 0, config = 0;
    std::size_t values = 0;
    const H5Z_filter_t id =
        H5Pget_filter2(list, static_cast<unsigned>(f), &flags, &values, nullptr, 0, nullptr, &config);
    if (id == H5Z_FILTER_SHUFFLE && f == 0) {
      array.filters.shuffle = true;
    } else if (id == H5Z_FILTER_DEFLATE && !array.filters.deflate && !array.foreign_filters) {
      array.filters.deflate = true;
    } else if (id == H5Z_FILTER_FLETCHER32 || id == H5Z_FILTER_SZIP || id == H5Z_FILTER_DEFLATE ||
               id == H5Z_FILTER_SHUFFLE) {
      array.foreign_filters = true;
    } else {
      refuse(Errc::damaged, array.path,
             fmt::format("uses filter {}, expected none but deflate, shuffle, fletcher32 and szip", id));
    }
  }
  H5D_fill_value_t defined = H5D_FILL_VALUE_UNDEFINED;
  if (array.element && *array.element != Element::text && array.element_bytes <= sizeof array.fill &&
      H5Pfill_value_defined(list, &defined) >= 0 && defined != H5D_FILL_VALUE_UNDEFINED) {
    const Handle type =
        own(H5Dget_type(array.dataset), H5Tclose, Errc::damaged, path_.string(), "reading " + array.path);
    if (H5Pget_fill_value(list, type, array.fill) < 0)
      throw_library_error(Errc::damaged, path_.string(), "reading the fill value of " + array.path);
  }
}

void StoredFile::check_sizes(const StoredArray& array) const {
  for (const hsize_t dim : array.dims)
    if (dim > (hsize_t{1} << 40)) refuse(Errc::damaged, array.path, fmt::format("has a dimension of {}", dim));
  const auto elements = checked_product(std::span<const hsize_t>(array.dims));
  if (!elements || *elements > kMaxElements)
    refuse(Errc::damaged, array.path,
           fmt::format("expected at most 2^45 elements, found {}",
                       elements ? std::to_string(*elements) : "more than 2^64"));
  if (array.chunk.empty()) return;
  const auto chunk = checked_product(std::span<const hsize_t>(array.chunk));
  const auto bytes = chunk ? checked_mul<hsize_t>(*chunk, array.element_bytes) : std::nullopt;
  if (!bytes || *bytes == 0 || *bytes > kMaxChunkBytes)
    refuse(Errc::damaged, array.path,
           fmt::format("expected chunks of 1 to {} bytes, found {}", kMaxChunkBytes,
                       bytes ? std::to_string(*bytes) : "more than 2^64"));
  hsize_t chunks = 1;
  for (std::size_t a = 0; a < array.dims.size(); ++a) {
    chunks *= std::max<hsize_t>(1, (array.dims[a] + array.chunk[a] - 1) / array.chunk[a]);
    if (chunks > kMaxChunks) refuse(Errc::damaged, array.path, fmt::format("has more than {} chunks", kMaxChunks));
  }
}

const StoredArray& StoredFile::array(const std::string& path, std::size_t rank) const {
  const auto found = arrays_.find(path);
  if (found == arrays_.end()) refuse(Errc::damaged, path, "is missing");
  if (!found->second.element) refuse(Errc::damaged, path, "has a type that captures do not use");
  if (found->second.dims.size() != rank)
    refuse(Errc::damaged, path, fmt::format("expected {} dimensions, found {}", rank, found->second.dims.size()));
  return found->second;
}

bool StoredFile::is_recorded(const std::string& path) const {
  const auto found = arrays_.find(path);
  if (found == arrays_.end() || found->second.num_elements() == 0) return false;
  const Gate gate;
  return H5Dget_storage_size(found->second.dataset) > 0;
}

Handle StoredFile::open_attribute(const std::string& object, const std::string& attribute) const {
  const std::string field = object + "@" + attribute;
  if (!groups_.contains(object) && !arrays_.contains(object)) refuse(Errc::damaged, object, "is missing");
  if (H5Aexists_by_name(file_, object.c_str(), attribute.c_str(), H5P_DEFAULT) <= 0)
    refuse(Errc::damaged, field, "is missing");
  Handle id = own(H5Aopen_by_name(file_, object.c_str(), attribute.c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                  Errc::damaged, path_.string(), "opening " + field);
  if (H5Aget_storage_size(id) > kMaxAttributeBytes) refuse(Errc::damaged, field, "is larger than 1 MiB");
  return id;
}

namespace {

/// Content of a scalar fixed-length string attribute; nullopt when it is something else.
std::optional<std::string> attribute_text(hid_t attribute) {
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  if (!type.is_open() || !space.is_open() || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 ||
      H5Sget_simple_extent_npoints(space) != 1)
    return std::nullopt;
  const std::size_t size = H5Tget_size(type);
  if (size == 0 || size > kMaxAttributeBytes) return std::nullopt;
  std::string text(size, '\0');
  if (H5Aread(attribute, type, text.data()) < 0) return std::nullopt;
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

}  // namespace

std::optional<std::string> StoredFile::find_text(hid_t object, const std::string& attribute,
                                                 const std::string& where) const {
  if (H5Aexists(object, attribute.c_str()) <= 0) return std::nullopt;
  const Handle id = own(H5Aopen(object, attribute.c_str(), H5P_DEFAULT), H5Aclose, Errc::damaged, path_.string(),
                        "opening " + where + "@" + attribute);
  return H5Aget_storage_size(id) > kMaxAttributeBytes ? std::nullopt : attribute_text(id);
}

bool StoredFile::has_attribute(const std::string& object, const std::string& attribute) const {
  const Gate gate;
  return H5Aexists_by_name(file_, object.c_str(), attribute.c_str(), H5P_DEFAULT) > 0;
}

std::string StoredFile::text(const std::string& object, const std::string& attribute) const {
  const Gate gate;
  const auto value = attribute_text(open_attribute(object, attribute));
  if (!value) refuse(Errc::damaged, object + "@" + attribute, "expected a fixed-length text");
  return *value;
}

std::vector<std::int64_t> StoredFile::integers(const std::string& object, const std::string& attribute) const {
  const Gate gate;
  const Handle id = open_attribute(object, attribute);
  const Handle type(H5Aget_type(id), H5Tclose), space(H5Aget_space(id), H5Sclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  if (H5Tget_class(type) != H5T_INTEGER || count < 1 || count > 4096)
    refuse(Errc::damaged, object + "@" + attribute, "expected whole numbers");
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  if (H5Aread(id, H5T_NATIVE_INT64, values.data()) < 0)
    throw_library_error(Errc::damaged, path_.string(), "reading " + object + "@" + attribute);
  return values;
}

std::int64_t StoredFile::integer(const std::string& object, const std::string& attribute) const {
  const auto values = integers(object, attribute);
  if (values.size() != 1) refuse(Errc::damaged, object + "@" + attribute, "expected one whole number");
  return values.front();
}

double StoredFile::real(const std::string& object, const std::string& attribute) const {
  const Gate gate;
  const Handle id = open_attribute(object, attribute);
  const Handle type(H5Aget_type(id), H5Tclose), space(H5Aget_space(id), H5Sclose);
  double value = 0.0;
  if (H5Tget_class(type) != H5T_FLOAT || H5Sget_simple_extent_npoints(space) != 1 ||
      H5Aread(id, H5T_NATIVE_DOUBLE, &value) < 0)
    refuse(Errc::damaged, object + "@" + attribute, "expected a number");
  return value;
}

}  // namespace headlight::capture::hdf5
