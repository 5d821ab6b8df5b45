#pragma once

#include "core/capture/capture_view.h"
#include "core/capture_hdf5/corpus_tables.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {

/// Reads /corpus.
class CorpusReader {
 public:
  /// @error damaged  a column is missing or contradicts another one
  CorpusReader(const StoredFile& file, const CaptureHeader& header);

  std::int64_t num_records() const { return count_; }
  RecordInfo record(std::int64_t r) const;
  Buffer<float> head_statistic(std::int64_t r, std::string_view id) const;
  std::vector<std::string> available_statistics(std::int64_t r) const;
  /// Everything that is stored of a record, ready for another corpus.
  CorpusRecord whole(std::int64_t r) const;
  std::string records_folder() const { return folder_; }
  std::int64_t num_rows(std::int64_t r) const;
  std::int64_t source_line(std::int64_t r) const;
  /// Lengths of the lists that hold all records one after the other.
  struct Sizes {
    hsize_t tokens, text_bytes, generated, segments;
  };
  Sizes sizes() const;

 private:
  std::vector<std::int64_t> offsets(const char* name, const char* target) const;

  const StoredFile& file_;
  const CaptureHeader& header_;
  std::int64_t count_ = 0;
  std::string folder_;
  std::vector<std::string> ids_;
  std::vector<std::int64_t> text_, token_, generated_, segment_;  // offsets, [R + 1]
  std::vector<LayerParameters> layers_;
};

}  // namespace headlight::capture::hdf5
