#include "core/capture_hdf5/capture_reader.h"

#include <fmt/format.h>

#include "core/capture/statistics.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/capture_header_io.h"
#include "core/capture_hdf5/guard.h"
#include "core/capture_hdf5/manifest.h"

namespace headlight::capture {
namespace hdf5 {
namespace {

CompleteState read_state(const StoredFile& file) {
  const std::int64_t state = file.integer("/", "complete");
  if (state < 0 || state > 2)
    file.refuse(Errc::damaged, "/@complete", fmt::format("expected 0, 1 or 2, found {}", state));
  return static_cast<CompleteState>(state);
}

}  // namespace

FileCapture::FileCapture(const std::filesystem::path& path) : file_(path), header_(read_header(file_)) {
  complete_ = read_state(file_);
  uuid_ = file_.text("/", "uuid");
  if (file_.has_group("/corpus"))
    corpus_ = std::make_unique<CorpusReader>(file_, header_);
  else if (file_.has_group("/rec/0"))
    single_ = std::make_unique<RecordReader>(file_, header_);
  else
    file_.refuse(Errc::damaged, "/rec/0", "is missing: the capture holds no record");
}

std::int64_t FileCapture::num_records() const {
  return corpus_ ? corpus_->num_records() : 1;
}

void FileCapture::check_record(std::int64_t r) const {
  if (r < 0 || r >= num_records())
    throw Error(Errc::invalid_argument, fmt::format("record {} is outside 0..{}", r, num_records() - 1));
}

// The last few files of a corpus stay open; whoever reads one keeps it alive.
std::shared_ptr<const FileCapture> FileCapture::record_file(std::int64_t r, std::string_view what) const {
  const auto link = file_.external_records().find(fmt::format("/rec/{}", r));
  if (link == file_.external_records().end())
    throw Error(Errc::invalid_argument,
                fmt::format("{} of record {} are not recorded: a corpus of level {} keeps values per head", what, r,
                            to_string(header_.plan.level)),
                {.file = file_.path().string(), .field = {}, .offset = {}, .hint = "capture with --level replay"});
  const std::lock_guard lock(mutex_);
  if (const auto found = record_files_.find(r); found != record_files_.end()) return found->second;
  auto opened = std::make_shared<const FileCapture>(file_.path().parent_path() / link->second);
  if (!opened->single_) opened->file_.refuse(Errc::damaged, "/rec/0", "is missing: the record's file holds none");
  if (opened->header_.plan.layers != header_.plan.layers || opened->header_.model.num_heads != header_.model.num_heads)
    opened->file_.refuse(Errc::damaged, "/model", "differs from the corpus that links to this record");
  constexpr std::size_t kOpenFiles = 16;
  if (record_files_.size() >= kOpenFiles) record_files_.erase(record_files_.begin());
  return record_files_.emplace(r, std::move(opened)).first->second;
}

template <class Use>
auto FileCapture::with_reader(std::int64_t r, std::string_view what, const Use& use) const {
  check_record(r);
  if (single_) return use(*single_);
  const auto file = record_file(r, what);
  return use(*file->single_);
}

bool FileCapture::has_own_file(std::int64_t r) const {
  return file_.external_records().contains(fmt::format("/rec/{}", r));
}

RecordInfo FileCapture::record(std::int64_t r) const {
  check_record(r);
  if (single_) return single_->info();
  if (!has_own_file(r)) return corpus_->record(r);
  return with_reader(r, "data", [](const RecordReader& reader) { return reader.info(); });
}

std::int64_t FileCapture::source_line(std::int64_t r) const {
  return single_ ? single_->info().header.source_line : corpus_->source_line(r);
}

void FileCapture::read_last_top(std::vector<std::int32_t>& id, std::vector<float>& logprob, float& entropy) const {
  HEADLIGHT_CHECK(single_ != nullptr);
  single_->read_last_top(id, logprob, entropy);
}

Buffer<float> FileCapture::statistic(std::int64_t r, std::string_view id, int layer) const {
  return with_reader(r, "statistics of rows", [&](const RecordReader& reader) { return reader.statistic(id, layer); });
}

Buffer<float> FileCapture::head_statistic(std::int64_t r, std::string_view id) const {
  check_record(r);
  if (!single_ && base_statistic(id) && has_own_file(r))  // the corpus holds those with interventions only
    return with_reader(r, "statistics", [&](const RecordReader& reader) { return reader.head_statistic(id); });
  return single_ ? single_->head_statistic(id) : corpus_->head_statistic(r, id);
}

std::vector<std::string> FileCapture::available_statistics(std::int64_t r) const {
  check_record(r);
  if (!single_ && !has_own_file(r)) return corpus_->available_statistics(r);
  return with_reader(r, "statistics", [](const RecordReader& reader) { return reader.available_statistics(); });
}

void FileCapture::read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const {
  with_reader(r, "queries",
              [&](const RecordReader& reader) { return reader.read_operand('q', layer, head, begin, end, out); });
}
void FileCapture::read_k(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                         float* out) const {
  with_reader(r, "keys",
              [&](const RecordReader& reader) { return reader.read_operand('k', layer, kv_head, begin, end, out); });
}
void FileCapture::read_v(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end,
                         float* out) const {
  with_reader(r, "values",
              [&](const RecordReader& reader) { return reader.read_operand('v', layer, kv_head, begin, end, out); });
}

RowPlan FileCapture::row_plan(std::int64_t r, int layer) const {
  return with_reader(r, "interventions", [&](const RecordReader& reader) { return reader.row_plan(layer); });
}

bool FileCapture::head_recorded(std::int64_t r, int layer, int head) const {
  check_record(r);
  if (!single_ && !has_own_file(r)) return false;
  return with_reader(r, "queries", [&](const RecordReader& reader) { return reader.head_recorded(layer, head); });
}

Buffer<float> FileCapture::block_sum(std::int64_t r, int layer, int head) const {
  return with_reader(r, "block maps", [&](const RecordReader& reader) { return reader.blocks(layer, head, true); });
}
Buffer<float> FileCapture::block_max(std::int64_t r, int layer, int head) const {
  return with_reader(r, "block maps", [&](const RecordReader& reader) { return reader.blocks(layer, head, false); });
}
Buffer<float> FileCapture::dense(std::int64_t r, int layer, int head) const {
  return with_reader(r, "dense maps", [&](const RecordReader& reader) { return reader.dense(layer, head); });
}
std::vector<TopkRow> FileCapture::topk(std::int64_t r, int layer, int head) const {
  return with_reader(r, "top-k entries", [&](const RecordReader& reader) { return reader.topk(layer, head); });
}
Buffer<float> FileCapture::hidden(std::int64_t r, std::string_view id) const {
  return with_reader(r, "hidden-state facts", [&](const RecordReader& reader) { return reader.hidden(id); });
}
void FileCapture::read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const {
  with_reader(r, "hidden states",
              [&](const RecordReader& reader) { return reader.read_states(level, begin, end, out); });
}
std::vector<MassiveActivation> FileCapture::massive(std::int64_t r) const {
  return with_reader(r, "massive activations", [](const RecordReader& reader) { return reader.massive(); });
}
Buffer<float> FileCapture::last_logits(std::int64_t r) const {
  return with_reader(r, "logits", [&](const RecordReader& reader) { return reader.last_logits(); });
}

}  // namespace hdf5

std::unique_ptr<CaptureView> open_capture(const std::filesystem::path& path, const OpenCaptureOptions& options) {
  std::unique_ptr<hdf5::FileCapture> capture;
  {
    const GuardedTimeLimit limit;
    capture = std::make_unique<hdf5::FileCapture>(path);
  }
  if (!options.allow_incomplete && capture->complete() != CompleteState::sealed) {
    const bool writing = capture->complete() == CompleteState::writing;
    throw Error(Errc::damaged,
                writing ? "is unfinished: it is being written, or its writer ended early"
                        : "is partial: it was interrupted or recovered",
                {.file = path.string(),
                 .field = "/@complete",
                 .offset = {},
                 .hint = writing ? "headlight recover makes a readable capture of it"
                                 : "--allow-incomplete uses what is there"});
  }
  if (options.check_manifest) {
    const ManifestReport report = hdf5::check_manifest(capture->file());
    if (!report.mismatches.empty())
      throw Error(
          Errc::damaged,
          fmt::format("{} of {} datasets differ from their checksums", report.mismatches.size(), report.num_datasets),
          {.file = path.string(), .field = report.mismatches.front(), .offset = {}, .hint = {}});
  }
  return capture;
}

ManifestReport verify_manifest(const std::filesystem::path& path) {
  const hdf5::StoredFile file(path);
  return hdf5::check_manifest(file);
}

}  // namespace headlight::capture
