#include "base/file.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/corpus_sink.h"

namespace headlight::capture {
namespace {

/// Decides in begin(), when the number of records is known.
class FileSink final : public CaptureSink {
 public:
  FileSink(std::filesystem::path path, const CaptureWriterOptions& options)
      : path_(std::move(path)), options_(options) {}

  void begin(const CaptureHeader& header) override {
    if (header.num_records > 1 || options_.stacked_corpus)
      sink_ = std::make_unique<hdf5::CorpusSink>(path_, options_);
    else
      sink_ = std::make_unique<hdf5::SingleSink>(path_, options_);
    sink_->begin(header);
  }
  void begin_record(const RecordHeader& record) override { sink_->begin_record(record); }
  void write_rows(const LayerRows& rows) override { sink_->write_rows(rows); }
  void write_row_plan(int index, const RowPlan& plan) override { sink_->write_row_plan(index, plan); }
  void write_columns(const LayerColumns& columns) override { sink_->write_columns(columns); }
  void write_dense(const DenseRows& rows) override { sink_->write_dense(rows); }
  void write_topk(std::span<const TopkRow> rows) override { sink_->write_topk(rows); }
  void write_hidden(const HiddenRows& rows) override { sink_->write_hidden(rows); }
  void write_massive(std::span<const MassiveActivation> entries) override { sink_->write_massive(entries); }
  void write_logits(const LogitRows& rows) override { sink_->write_logits(rows); }
  void append_generated(const TokenInfo& token, float logprob) override { sink_->append_generated(token, logprob); }
  void end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) override {
    sink_->end_record(rows_done, timing);
  }
  void finish(bool complete) override {
    if (sink_) sink_->finish(complete);
  }
  void flush() override { sink_->flush(); }

 private:
  std::filesystem::path path_;
  CaptureWriterOptions options_;
  std::unique_ptr<CaptureSink> sink_;
};

}  // namespace

std::unique_ptr<CaptureSink> create_capture(const std::filesystem::path& path, const CaptureWriterOptions& options) {
  check_output_path(path, options.overwrite);
  return std::make_unique<FileSink>(path, options);
}

}  // namespace headlight::capture
