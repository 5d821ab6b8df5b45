#pragma once

#include <memory>

#include "core/capture_hdf5/corpus_tables.h"
#include "core/capture_hdf5/single_sink.h"

namespace headlight::capture::hdf5 {

/// Several records: values per head stacked in one file, and from level replay on (or when asked for) every record in
/// a file of its own, `<stem>.d/<r>.h5`, linked from that file.
class CorpusSink final : public CaptureSink {
 public:
  CorpusSink(std::filesystem::path path, const CaptureWriterOptions& options);

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

 private:
  template <class Work>
  void guarded(const Work& work);

  std::filesystem::path path_;
  CaptureWriterOptions options_;
  CaptureHeader header_;
  std::string folder_;  // name of the records' folder, empty = stacked only
  std::unique_ptr<PartFile> file_;
  std::unique_ptr<CorpusTables> tables_;
  std::unique_ptr<SingleSink> single_;  // of the current record
  std::unique_ptr<CorpusRecord> record_;
  std::unique_ptr<HeadMeans> means_;
  std::vector<std::int64_t> layer_rows_;
  FailureLatch latch_;
};

/// `<stem>.d`, the folder beside `path` that holds a corpus' records.
std::string records_folder_name(const std::filesystem::path& path);
/// Makes the folder ready: new, or emptied of record files when `overwrite`. @error output_exists, io
void prepare_records_folder(const std::filesystem::path& folder, bool overwrite);
/// [L][H][S] in the order of head_statistic_ids().
std::vector<float> stacked_head_values(const HeadMeans& means, std::size_t layers, std::size_t heads);

}  // namespace headlight::capture::hdf5
