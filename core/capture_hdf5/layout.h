#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/capture/statistics.h"
#include "core/capture_hdf5/array_writer.h"

namespace headlight::capture::hdf5 {

inline constexpr std::int32_t kMajorVersion = 1, kMinorVersion = 0;

/// Largest sizes that a reader accepts.
inline constexpr std::uint64_t kMaxLayers = 1024, kMaxHeads = 1024, kMaxHeadDim = 1024, kMaxRows = 1u << 22,
                               kMaxRecords = 1u << 24, kMaxHidden = 1u << 17, kMaxVocab = 1u << 21;

inline constexpr int kLogitTop = 10;  ///< most probable tokens kept per row

/// Rows of a chunk of an array with `rows` rows: at most `limit`, all chunks about equally full.
std::int64_t chunk_rows(std::int64_t rows, std::int64_t limit);

/// Ids of all statistics that have a value per head, in the order of the registry.
std::vector<std::string> head_statistic_ids();

/// Where a row statistic lies in LayerRows; null for jmax and group_mass.
const float* row_values(const LayerRows& rows, std::string_view id);

/// "row/entropy", "col/received_base": where a recorded statistic lies in its record.
std::string statistic_path(const StatisticInfo& info, bool base);

/// Shapes of one record that decide about the datasets of /rec/<r>.
struct RecordShape {
  RecordShape(const CaptureHeader& header, const RecordHeader& record);

  std::string group;  ///< "/rec/0"
  std::int64_t layers, heads, kv_heads, head_dim, levels, hidden, vocab;
  std::int64_t rows;         ///< announced
  std::int64_t prompt_rows;  ///< extent at creation
  std::int64_t segments;
  bool rows_changed;  ///< by interventions: there are row plans
  bool has_base;      ///< statistics without interventions are there as well
  bool generates;     ///< rows come in small blocks after the prompt: they are stored without filters, so that
                      ///< they can be written in place
  std::int64_t query_begin, query_end;  ///< rows kept for replay
  std::int64_t blocks;                  ///< overview blocks per side
};

/// Datasets of one record.
std::vector<ArraySpec> record_arrays(const CaptureHeader& header, const RecordHeader& record, const RecordShape& shape);

/// Base of every [layer, series, row] array: row axis without limit.
ArraySpec row_array(const std::string& path, const std::string& axes, Element element, const RecordShape& shape,
                    std::int64_t outer, std::int64_t series, bool filtered);

}  // namespace headlight::capture::hdf5
