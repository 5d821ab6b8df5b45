#include "core/capture_hdf5/single_sink.h"

#include <fmt/format.h>

#include "base/file.h"
#include "core/capture_hdf5/capture_header_io.h"
#include "core/capture_hdf5/manifest.h"

namespace headlight::capture::hdf5 {

SingleSink::SingleSink(std::filesystem::path path, const CaptureWriterOptions& options)
    : path_(std::move(path)), options_(options) {
  check_output_path(path_, options_.overwrite);
}

template <class Work>
void SingleSink::guarded(const Work& work) {
  latch_.guard(
      file_, [&] { record_.reset(); }, work);
}

void SingleSink::begin(const CaptureHeader& header) {
  HEADLIGHT_CHECK(!file_);
  header_ = header;
  header_.num_records = 1;
  guarded([&] {
    file_ = std::make_unique<PartFile>(path_, options_.overwrite, options_.compression_threads, options_.reproducible);
  });
}

void SingleSink::begin_record(const RecordHeader& record) {
  HEADLIGHT_CHECK(file_ && !record_);
  guarded([&] {
    define_header(*file_, header_, fmt::format("attention capture of {}", header_.model.name));
    record_ = std::make_unique<RecordWriter>(*file_, header_, record);
    file_->set_attribute("/", "default", "rec/0/head_stats/entropy");
    file_->start_append();
    record_->start();
    file_->flush(record_->progress());
  });
}

void SingleSink::write_rows(const LayerRows& rows) {
  guarded([&] { record_->write_rows(rows); });
}
void SingleSink::write_row_plan(int index, const RowPlan& plan) {
  guarded([&] { record_->write_row_plan(index, plan); });
}
void SingleSink::write_columns(const LayerColumns& columns) {
  guarded([&] { record_->write_columns(columns); });
}
void SingleSink::write_dense(const DenseRows& rows) {
  guarded([&] { record_->write_dense(rows); });
}
void SingleSink::write_topk(std::span<const TopkRow> rows) {
  guarded([&] { record_->write_topk(rows); });
}
void SingleSink::write_hidden(const HiddenRows& rows) {
  guarded([&] { record_->write_hidden(rows); });
}
void SingleSink::write_massive(std::span<const MassiveActivation> entries) {
  guarded([&] { record_->write_massive(entries); });
}
void SingleSink::write_logits(const LogitRows& rows) {
  guarded([&] { record_->write_logits(rows); });
}
void SingleSink::append_generated(const TokenInfo& token, float logprob) {
  guarded([&] { record_->append_generated(token, logprob); });
}

void SingleSink::end_record(std::int64_t rows_done, const std::vector<std::pair<std::string, double>>& timing) {
  if (latch_.failed()) return;  // it was reported
  guarded([&] {
    record_->finish(rows_done, timing);
    file_->flush(record_->progress());
  });
}

void SingleSink::flush() {
  if (!record_ && !latch_.failed()) return;
  guarded([&] { file_->flush(record_->progress()); });
}

void SingleSink::finish(bool complete) {
  if (latch_.failed() || !file_) return;
  if (!record_) {  // nothing was recorded
    file_.reset();
    return;
  }
  guarded([&] {
    if (record_->rows_done() < 0) record_->finish(record_->progress().num_rows(), {});
    file_->add_journal(4, 0, complete ? 1 : 2);
    LiveProgress progress = record_->progress();
    progress.state = 2;
    file_->flush(progress);
    write_manifest(*file_);
    file_->flush(progress);
    file_->begin_seal();
    record_->seal();
    seal_header(*file_, complete);
    file_->commit();
  });
}

}  // namespace headlight::capture::hdf5
