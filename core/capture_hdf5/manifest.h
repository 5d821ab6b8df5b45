#pragma once

#include <string>
#include <vector>

#include "core/capture_hdf5/capture_file.h"

namespace headlight::capture::hdf5 {

class PartFile;
class StoredFile;

/// Empty /manifest: path, bytes and crc32 of every dataset, filled when the file is complete.
void define_manifest(PartFile& file);

/// Sums every dataset of a flushed file but the manifest itself, the journal and the live counters.
void write_manifest(PartFile& file);

/// The manifest's columns for a file as it is stored: paths, bytes, checksums.
struct ManifestColumns {
  std::vector<std::string> paths;
  std::vector<std::int64_t> bytes, crc32;
  std::string packed_paths() const;  ///< fixed-length texts as /manifest/path stores them
};
ManifestColumns sum_stored_file(const StoredFile& file);

/// Compares stored bytes with the manifest.
ManifestReport check_manifest(const StoredFile& file);

}  // namespace headlight::capture::hdf5
