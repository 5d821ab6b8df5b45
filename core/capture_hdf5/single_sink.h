#pragma once

#include <memory>

#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/failure_latch.h"
#include "core/capture_hdf5/record_writer.h"

namespace headlight::capture::hdf5 {

/// One record in one file.
class SingleSink final : public CaptureSink {
 public:
  SingleSink(std::filesystem::path path, const CaptureWriterOptions& options);

  void begin(const CaptureHeader& header) override;
  void begin_record(const RecordHeader& record) override;
  void write_rows(const LayerRows& rows) override;
  void write_row_plan(int index, const RowPlan& plan) override;
  void write_columns(const LayerColumns& columns) override;
  void write_dense(const DenseRows& rows) override;
  void write_topk(std::span<const TopkRow> rows) override;
  void write_hidden(const HiddenRows& rows) override;
  void write_massive(std::span<const MassiveActivation> entries) override;
  void write_logits(const LogitRows& rows) override;
  void append_generated(const TokenInfo& token, float logprob) override;
  void end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) override;
  void finish(bool complete) override;
  void flush() override;

  /// Of the record that ended; null before.
  const RecordWriter* record() const { return record_.get(); }

 private:
  template <class Work>
  void guarded(const Work& work);

  std::filesystem::path path_;
  CaptureWriterOptions options_;
  CaptureHeader header_;
  std::unique_ptr<PartFile> file_;
  std::unique_ptr<RecordWriter> record_;
  FailureLatch latch_;
};

}  // namespace headlight::capture::hdf5
