#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

namespace headlight::capture {

/// What a capture that is being written has reached; every number is backed by data that were flushed before it.
struct LiveProgress {
  std::int64_t sequence = 0;     ///< grows with every flush
  std::int64_t layers_done = 0;  ///< recorded layers whose prompt rows are there
  std::int64_t tokens = 0;       ///< prompt and generated tokens of the current record
  std::int64_t record = 0;       ///< records that are complete
  std::int64_t num_records = 0;  ///< records announced
  std::int64_t bytes_written = 0;
  std::int64_t state = 0;    ///< 0 define, 1 append, 2 sealing, 3 failed
  std::int64_t time_ms = 0;  ///< since 1970
  std::int64_t error = 0;
  std::int64_t rows_complete = 0;  ///< rows that every layer has
  std::int64_t rows_begun = 0;     ///< rows that some layer has
  std::int64_t topk_rows = 0, topk_entries = 0, massive = 0;

  /// Rows that a recovered record has: those of all layers, else those of the layers that ran.
  std::int64_t num_rows() const { return rows_complete > 0 ? rows_complete : rows_begun; }

  static constexpr std::int64_t kMagic = 0x484C4947;
  std::array<std::int64_t, 16> pack() const;
  static LiveProgress unpack(const std::array<std::int64_t, 16>& values);
};

/// Progress of a file that another process writes (or that it left behind when it died).
/// @error not_found, unreadable, bad_format, damaged
LiveProgress read_live_progress(const std::filesystem::path& path);

}  // namespace headlight::capture
