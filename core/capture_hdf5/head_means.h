#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/capture/capture_sink.h"

namespace headlight::capture::hdf5 {

/// Head values of every statistic while rows arrive: the same numbers as derive_head_statistic() of the whole record,
/// without keeping the rows.
class HeadMeans {
 public:
  HeadMeans(const CaptureHeader& header, const RecordHeader& record);

  void add_rows(const LayerRows& rows);
  void set_columns(const LayerColumns& columns);

  /// [L][H]; NaN = not recorded. Ids of head_statistic_ids().
  std::vector<float> values(const std::string& id) const;

 private:
  struct Sum {
    double total = 0.0;
    std::int64_t count = 0;
  };

  const RecordHeader& record_;
  int heads_;
  std::size_t cells_;                                  // L * H
  std::map<std::string, std::vector<Sum>> row_sums_;   // [L][H]
  std::map<std::string, std::vector<float>> columns_;  // [L][H]
};

}  // namespace headlight::capture::hdf5
