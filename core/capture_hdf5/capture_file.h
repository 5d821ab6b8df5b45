#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/capture/capture_sink.h"
#include "core/capture/capture_view.h"

namespace headlight::capture {

struct CaptureWriterOptions {
  bool overwrite = false;
  bool stacked_corpus = false;  ///< several records at summary level in /corpus instead of one record per file
  bool reproducible = false;    ///< no random uuid, dates from SOURCE_DATE_EPOCH: same run, same bytes
  int compression_threads = 1;
};

/// A sink that writes an HDF5 capture, crash-safe: a hidden `.part` file beside `path` in single-writer-multiple-reader
/// form with flush points, renamed when sealed. After a disk error the .part file stays and can be recovered; the error
/// names it. A prompt with one record writes it into `path`; corpora with replay or maps write `<stem>.d/<r>.h5`,
/// linked from the master that is renamed last.
/// @error output_exists, io
std::unique_ptr<CaptureSink> create_capture(const std::filesystem::path& path, const CaptureWriterOptions& options);

struct OpenCaptureOptions {
  bool allow_incomplete = false;  ///< also states writing and partial
  bool check_manifest = false;    ///< CRC-32 of every stored chunk
};

/// Opens and validates a capture: signature, version, every dataset's type, rank, sizes, filters, links. Filter plugins
/// are never loaded, external storage and links outside the folder are refused.
/// @error not_found, unreadable, bad_format (not a capture), bad_version, damaged (unfinished, or contradicts itself)
std::unique_ptr<CaptureView> open_capture(const std::filesystem::path& path, const OpenCaptureOptions& options = {});

/// Result of checking a file's stored bytes against its manifest.
struct ManifestReport {
  std::int64_t num_datasets = 0, num_bytes = 0;
  std::vector<std::string> mismatches;  ///< dataset paths
};
ManifestReport verify_manifest(const std::filesystem::path& path);

/// Makes a readable capture (state partial) of an interrupted `.part` file. @return rows recovered per record
/// @error busy (a writer holds it), damaged (nothing recoverable), output_exists, io
struct RecoverReport {
  std::int64_t num_records = 0, rows_recovered = 0;
  std::vector<std::string> losses;
};
RecoverReport recover_capture(const std::filesystem::path& part, const std::filesystem::path& output, bool overwrite);

/// Merges captures of a split batch (same model and plan) into one, records in the order of their source line.
void merge_captures(const std::vector<std::filesystem::path>& inputs, const std::filesystem::path& output,
                    bool overwrite);

/// Bytes the file will take, per part, before running; within +25 % / -50 % of the file.
struct SizeEstimate {
  std::int64_t statistics = 0, replay = 0, maps = 0, overview = 0, hidden = 0, logits = 0, other = 0;
  std::int64_t total() const { return statistics + replay + maps + overview + hidden + logits + other; }
};
SizeEstimate estimate_capture_bytes(const CaptureHeader& header, std::int64_t num_rows);

/// Throws Error{io} when the folder of `path` lacks bytes x 1.1 + 64 MB; the sentence has both numbers.
void check_free_space(const std::filesystem::path& path, std::int64_t bytes);

/// Version of the HDF5 library in this process: "1.14.5".
std::string hdf5_library_version();

}  // namespace headlight::capture
