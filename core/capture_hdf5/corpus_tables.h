#pragma once

#include <string>
#include <vector>

#include "core/capture/capture_sink.h"
#include "core/capture_hdf5/part_file.h"

namespace headlight::capture::hdf5 {

/// What a corpus keeps of one record.
struct CorpusRecord {
  RecordHeader header;  ///< tokens include generated ones
  std::int64_t num_rows = 0;
  std::uint8_t status = 0;  ///< 0 complete, 2 failed or interrupted
  std::vector<float> generated_logprob;
  std::vector<float> head_values_lhs;  ///< [L][H][S], S = head_statistic_ids()
  std::vector<std::int32_t> top_id;    ///< kLogitTop most probable tokens after the prompt; empty = not recorded
  std::vector<float> top_logprob;
  float logit_entropy = 0.0f;
};

/// Writes /corpus: an index of the records, their texts and tokens one after the other, head values stacked over
/// records, and running moments.
class CorpusTables {
 public:
  /// Defines everything. @param folder  of the records' own files ("name.d"), empty when they have none
  CorpusTables(PartFile& file, const CaptureHeader& header, const std::string& folder);

  void append(const CorpusRecord& record);
  void write_moments();
  void seal();

  std::int64_t num_records() const { return done_; }
  LiveProgress progress() const;

 private:
  void define_index();
  void define_texts();
  void define_values();
  ArrayWriter& array(const std::string& name) { return file_.array("/corpus/" + name); }
  void append_tokens(const CorpusRecord& record);
  void append_values(const CorpusRecord& record);
  void add_moments(const std::vector<float>& values);
  template <class T>
  void add(const char* name, T value) {
    array(name).append(&value, 1);
  }

  PartFile& file_;
  const CaptureHeader& header_;
  std::vector<std::string> ids_;
  std::int64_t done_ = 0, tokens_ = 0, text_bytes_ = 0, piece_bytes_ = 0, generated_ = 0, segments_ = 0;
  std::vector<double> mean_, m2_, min_, max_;  // [L][H][S]
  std::vector<std::int64_t> count_;
};

}  // namespace headlight::capture::hdf5
