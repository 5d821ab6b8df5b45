#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/capture/capture_view.h"
#include "core/capture_hdf5/stored_file.h"

namespace headlight::capture::hdf5 {

/// Reads /rec/0 of a capture file. Everything is checked against the header and the record's own sizes on opening;
/// numbers are read when they are asked for.
class RecordReader {
 public:
  /// @error damaged  a dataset is missing or contradicts another one
  RecordReader(const StoredFile& file, const CaptureHeader& header);

  const RecordInfo& info() const { return info_; }
  Buffer<float> statistic(std::string_view id, int layer) const;
  Buffer<float> head_statistic(std::string_view id) const;
  std::vector<std::string> available_statistics() const;
  void read_operand(char which, int layer, int series, std::int64_t begin, std::int64_t end, float* out) const;
  bool head_recorded(int layer, int head) const;
  RowPlan row_plan(int layer) const;
  Buffer<float> blocks(int layer, int head, bool sums) const;
  Buffer<float> dense(int layer, int head) const;
  std::vector<TopkRow> topk(int layer, int head) const;
  Buffer<float> hidden(std::string_view id) const;
  void read_states(int level, std::int64_t begin, std::int64_t end, float* out) const;
  std::vector<MassiveActivation> massive() const;
  Buffer<float> last_logits() const;
  /// Most probable tokens after the prompt; unchanged when they are not recorded.
  void read_last_top(std::vector<std::int32_t>& id, std::vector<float>& logprob, float& entropy) const;

 private:
  struct Expected;
  void read_sizes();
  void read_text();
  void read_interventions();
  void read_segments();
  void read_parameters();
  void check_arrays();
  void find_contents();
  void check_blocks();
  void check_topk();
  void check_layer(int layer) const;
  void check_head(int layer, int head) const;
  std::string path(std::string_view name) const { return "/rec/0/" + std::string(name); }
  bool recorded(std::string_view name) const;
  Buffer<float> stored_statistic(std::string_view id, int layer) const;

  const StoredFile& file_;
  const CaptureHeader& header_;
  RecordInfo info_;
  std::vector<std::uint8_t> recorded_lh_;
  std::vector<std::optional<RowPlan>> row_plans_;  // per recorded layer, where interventions change rows
  hsize_t topk_rows_ = 0, topk_entries_ = 0;
  // While a record generates, what is stored of its columns and blocks does not count the generated rows.
  bool columns_pending_ = false, blocks_pending_ = false;
};

}  // namespace headlight::capture::hdf5
