#include "core/capture_hdf5/manifest.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/file.h"
#include "core/capture_hdf5/part_file.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {
namespace {

constexpr std::size_t kPathText = 128;

struct Sum {
  std::int64_t bytes = 0;
  std::uint32_t crc = 0;
};

/// Not summed: what changes while a file is open, and the sums themselves.
bool is_summed(const std::string& path) {
  return path != "/live/progress" && path != "/journal" && !path.starts_with("/manifest/");
}

Sum sum_stored_bytes(hid_t dataset, const Sizes& dims, const Sizes& chunk, std::size_t element_bytes,
                     const InputFile& raw) {
  Sum sum;
  visit_stored_bytes(dataset, dims, chunk, element_bytes, raw, [&](std::span<const std::byte> bytes) {
    sum.crc = crc32(sum.crc, bytes);
    sum.bytes += static_cast<std::int64_t>(bytes.size());
  });
  return sum;
}

}  // namespace

void define_manifest(PartFile& file) {
  file.create_group("/manifest");
  file.set_attribute("/manifest", "algorithm", "CRC-32 (ISO 3309, as in zlib) over stored chunks in row-major order");
  file.create_dimension("/manifest/entry", 0);
  ArraySpec spec;
  spec.path = "/manifest/path";
  spec.axes = "entry";
  spec.element = Element::text;
  spec.text_bytes = kPathText;
  spec.dims = {0};
  spec.growing_axis = 0;
  spec.chunk = {128};
  spec.fill_is_missing = false;
  spec.long_name = "dataset";
  file.create_array(spec);
  spec.element = Element::i64;
  spec.path = "/manifest/bytes";
  spec.long_name = "stored bytes";
  spec.fill = 0;
  file.create_array(spec);
  spec.path = "/manifest/crc32";
  spec.long_name = "checksum of the stored bytes";
  file.create_array(spec);
}

void write_manifest(PartFile& file) {
  const InputFile raw(file.part());
  std::vector<std::int64_t> bytes, crc;
  std::string paths;
  file.for_each_array([&](ArrayWriter& array) {
    const std::string& path = array.spec().path;
    if (!is_summed(path)) return;
    HEADLIGHT_CHECK(path.size() <= kPathText);
    const Sum sum = sum_stored_bytes(array.id(), array.dims(), array.spec().chunk, array.element_bytes(), raw);
    bytes.push_back(sum.bytes);
    crc.push_back(sum.crc);
    paths += path;
    paths.resize(bytes.size() * kPathText);
  });
  file.grow_scale("/manifest/entry", bytes.size());
  file.array("/manifest/path").append(paths.data(), bytes.size());
  file.array("/manifest/bytes").append(bytes.data(), bytes.size());
  file.array("/manifest/crc32").append(crc.data(), crc.size());
  file.check_disk();
}

std::string ManifestColumns::packed_paths() const {
  return pack_texts(paths, kPathText);
}

ManifestColumns sum_stored_file(const StoredFile& file) {
  ManifestColumns columns;
  for (const auto& [path, array] : file.arrays()) {
    if (!is_summed(path)) continue;
    const Sum sum = sum_stored_bytes(array.dataset, array.dims, array.chunk, array.element_bytes, file.raw());
    columns.paths.push_back(path);
    columns.bytes.push_back(sum.bytes);
    columns.crc32.push_back(sum.crc);
  }
  return columns;
}

ManifestReport check_manifest(const StoredFile& file) {
  const auto paths = file.texts("/manifest/path");
  const auto bytes = file.read_integers("/manifest/bytes"), crc = file.read_integers("/manifest/crc32");
  if (bytes.size() != paths.size() || crc.size() != paths.size())
    file.refuse(Errc::damaged, "/manifest", "has columns of different lengths");
  ManifestReport report;
  std::set<std::string> listed;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    listed.insert(paths[i]);
    ++report.num_datasets;
    const auto found = file.arrays().find(paths[i]);
    if (found == file.arrays().end()) {
      report.mismatches.push_back(paths[i]);
      continue;
    }
    const StoredArray& array = found->second;
    try {
      const Sum sum = sum_stored_bytes(array.dataset, array.dims, array.chunk, array.element_bytes, file.raw());
      report.num_bytes += sum.bytes;
      if (sum.bytes != bytes[i] || sum.crc != crc[i]) report.mismatches.push_back(paths[i]);
    } catch (const Error& error) {
      if (error.code() != Errc::damaged && error.code() != Errc::changed) throw;
      report.mismatches.push_back(paths[i]);
    }
  }
  for (const auto& [path, array] : file.arrays())
    if (is_summed(path) && !listed.contains(path)) report.mismatches.push_back(path);
  return report;
}

}  // namespace headlight::capture::hdf5
