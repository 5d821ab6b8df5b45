#pragma once

#include <memory>

#include "core/capture_hdf5/head_means.h"
#include "core/capture_hdf5/layout.h"
#include "core/capture_hdf5/part_file.h"

namespace headlight::capture::hdf5 {

/// Writes /rec/0 of a capture file.
class RecordWriter {
 public:
  /// Defines the record's groups and datasets; the file is in its `define` state.
  RecordWriter(PartFile& file, const CaptureHeader& header, const RecordHeader& record);

  /// Tokens and layer parameters; the file is in its `append` state from now on.
  void start();
  void write_rows(const LayerRows& rows);
  void write_row_plan(int index, const RowPlan& plan);
  void write_columns(const LayerColumns& columns);
  void write_dense(const DenseRows& rows);
  void write_topk(std::span<const TopkRow> rows);
  void write_hidden(const HiddenRows& rows);
  void write_massive(std::span<const MassiveActivation> entries);
  void write_logits(const LogitRows& rows);
  void append_generated(const TokenInfo& token, float logprob);
  /// Head values, counts of visible rows, timing.
  void finish(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing);
  /// Final attributes; the file is in its `seal` state.
  void seal();

  LiveProgress progress() const;
  const RecordHeader& record() const { return record_; }
  std::int64_t rows_done() const { return rows_done_; }
  std::int64_t num_generated() const { return num_generated_; }
  const HeadMeans& head_means() const { return means_; }

 private:
  void define_scales();
  void define_text();
  void grow_rows(std::int64_t rows);
  ArrayWriter& array(const std::string& name) { return file_.array(shape_.group + "/" + name); }
  void append_tokens(std::span<const TokenInfo> tokens, bool at_creation);
  void write_parameters();
  void write_base_rows(const LayerRows& rows);
  void write_operand(const char* name, const LayerRows& rows, const float* values, std::int64_t stride,
                     std::int64_t series);

  PartFile& file_;
  const CaptureHeader& header_;
  const RecordHeader record_;
  RecordShape shape_;
  HeadMeans means_;
  std::int64_t extent_ = 0;               // rows of every array
  std::vector<bool> columns_written_;     // of each layer
  std::vector<std::int64_t> layer_rows_;  // rows [0, n) of each layer are there
  std::int64_t num_tokens_ = 0, num_generated_ = 0, piece_bytes_ = 0, rows_done_ = -1;
  std::size_t row_plan_bytes_ = 0;
  std::int64_t topk_rows_ = 0, topk_entries_ = 0, massive_ = 0;
};

}  // namespace headlight::capture::hdf5
