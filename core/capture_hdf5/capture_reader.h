#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "core/capture/capture_view.h"
#include "core/capture_hdf5/corpus_reader.h"
#include "core/capture_hdf5/record_reader.h"

namespace headlight::capture::hdf5 {

/// A capture file: one record, or a corpus whose records are values per head and, from level replay on, files of their
/// own that are opened when they are asked for.
class FileCapture final : public CaptureView {
 public:
  explicit FileCapture(const std::filesystem::path& path);

  const StoredFile& file() const { return file_; }
  const CorpusReader* corpus() const { return corpus_.get(); }

  std::int64_t source_line(std::int64_t r) const;
  /// Most probable tokens after the prompt of the only record; unchanged when they are not recorded.
  void read_last_top(std::vector<std::int32_t>& id, std::vector<float>& logprob, float& entropy) const;

  const CaptureHeader& header() const override { return header_; }
  CompleteState complete() const override { return complete_; }
  std::string uuid() const override { return uuid_; }
  std::string name() const override { return file_.path().string(); }
  std::int64_t num_records() const override;
  RecordInfo record(std::int64_t r) const override;
  Buffer<float> statistic(std::int64_t r, std::string_view id, int layer) const override;
  Buffer<float> head_statistic(std::int64_t r, std::string_view id) const override;
  std::vector<std::string> available_statistics(std::int64_t r) const override;
  void read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const override;
  void read_k(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, float* out) const override;
  void read_v(std::int64_t r, int layer, int kv_head, std::int64_t begin, std::int64_t end, float* out) const override;
  RowPlan row_plan(std::int64_t r, int layer) const override;
  bool head_recorded(std::int64_t r, int layer, int head) const override;
  Buffer<float> block_sum(std::int64_t r, int layer, int head) const override;
  Buffer<float> block_max(std::int64_t r, int layer, int head) const override;
  Buffer<float> dense(std::int64_t r, int layer, int head) const override;
  std::vector<TopkRow> topk(std::int64_t r, int layer, int head) const override;
  Buffer<float> hidden(std::int64_t r, std::string_view id) const override;
  void read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const override;
  std::vector<MassiveActivation> massive(std::int64_t r) const override;
  Buffer<float> last_logits(std::int64_t r) const override;

 private:
  void check_record(std::int64_t r) const;
  bool has_own_file(std::int64_t r) const;
  std::shared_ptr<const FileCapture> record_file(std::int64_t r, std::string_view what) const;
  template <class Use>
  auto with_reader(std::int64_t r, std::string_view what, const Use& use) const;

  StoredFile file_;
  CaptureHeader header_;
  CompleteState complete_ = CompleteState::writing;
  std::string uuid_;
  std::unique_ptr<RecordReader> single_;
  std::unique_ptr<CorpusReader> corpus_;
  mutable std::mutex mutex_;  // guards record_files_
  mutable std::map<std::int64_t, std::shared_ptr<const FileCapture>> record_files_;
};

}  // namespace headlight::capture::hdf5
