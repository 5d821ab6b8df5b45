#include "core/capture_hdf5/live_progress.h"

#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture {

std::array<std::int64_t, 16> LiveProgress::pack() const {
  return {kMagic,  sequence, layers_done,   tokens,     record,    num_records,  bytes_written, state,
          time_ms, error,    rows_complete, rows_begun, topk_rows, topk_entries, massive,       0};
}

LiveProgress LiveProgress::unpack(const std::array<std::int64_t, 16>& v) {
  LiveProgress progress;
  progress.sequence = v[1];
  progress.layers_done = v[2];
  progress.tokens = v[3];
  progress.record = v[4];
  progress.num_records = v[5];
  progress.bytes_written = v[6];
  progress.state = v[7];
  progress.time_ms = v[8];
  progress.error = v[9];
  progress.rows_complete = v[10];
  progress.rows_begun = v[11];
  progress.topk_rows = v[12];
  progress.topk_entries = v[13];
  progress.massive = v[14];
  return progress;
}

LiveProgress read_live_progress(const std::filesystem::path& path) {
  return hdf5::StoredFile(path).progress();
}

}  // namespace headlight::capture
