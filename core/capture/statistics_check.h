#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/capture/replay.h"

namespace headlight::capture {

/// One kind of stored value against what it should be: the worst difference, as a share of its limit, and its place.
struct Check {
  std::string name;
  double worst = 0;  ///< largest difference / limit
  double limit = 0;  ///< absolute limit at the worst place
  std::string where;
  std::int64_t count = 0;  ///< values compared

  bool passed() const { return worst <= 1.0; }

  /// @param difference  absolute; NaN fails. @param allowed  its limit, > 0. @param place  called for a new worst value
  template <class Place>
  void add(double difference, double allowed, const Place& place) {
    ++count;
    const double ratio = std::isnan(difference) ? INFINITY : difference / allowed;
    if (ratio <= worst && !where.empty()) return;
    worst = std::max(worst, ratio);
    limit = allowed;
    where = place();
  }
};

/// Rounding a score of size s in float32 moves its weight exp(score - lse) by up to s times this share.
inline constexpr double kScoreRounding = 1.0 / (1 << 21);

/// Checks the heads of a record one after another: everything that follows from q and k (row and column statistics,
/// segment masses, block maps, dense maps, top-k rows, key norms, sums of replayed rows) against a recomputation in
/// float64, head values against the formulas of the registry. Not checked: what needs the weights (u_norm, the norms of
/// hidden states, logits).
///
/// Limits for captures in f32; twice as wide for f16 and bf16; all grow with a row's scores, whose rounding the
/// exponential multiplies: lse 5e-5, entropy 1e-4, masses 2e-5, pmax and distances 1e-4 relative, columns 2e-4 relative
/// or 1e-5 N, map entries 1e-5 + 2^-21 max|s| (relative rounding added where maps are stored in half precision).
class StatisticsCheck {
 public:
  /// Rows [row_begin, row_end) must have been kept for replay.
  /// Columns and block maps are checked when these are all rows of the record.
  StatisticsCheck(const CaptureView& view, std::int64_t record, std::int64_t row_begin, std::int64_t row_end,
                  ThreadPool& pool);

  /// @param layer  index among the recorded layers. @error invalid_argument  the head has no q. @error cancelled
  void add_head(int layer, int head, std::stop_token stop);

  std::vector<Check> results() const;

 private:
  struct RowChecks;
  double growth(const HeadOracle& oracle, std::size_t row) const;
  double map_limit(const HeadOracle& oracle, std::size_t row) const;
  std::string suffix() const { return base_ ? "_base" : ""; }
  bool all_rows() const { return row_begin_ == 0 && row_end_ == info_.num_rows; }
  Check& check(const std::string& name);
  void load_layer(int layer);
  void check_head(const HeadOracle& oracle, int head);
  void check_rows(const HeadOracle& oracle, int head);
  void check_row_values(const std::string& id, const double* expected, double absolute, double relative,
                        const HeadOracle& oracle, int head);
  void check_largest_keys(const HeadOracle& oracle, int head);
  void check_column(const char* id, const std::vector<double>& values, int head);
  void check_blocks(const HeadOracle& oracle, int head);
  void check_key_norms(int head);
  void check_head_values();
  void check_sums(const HeadOracle& oracle, int head);
  void check_map_rows(const HeadOracle& oracle, const RowChecks& rows);

  const CaptureView& view_;
  std::int64_t record_, row_begin_, row_end_;
  RecordInfo info_;
  ThreadPool& pool_;
  int layer_ = -1;     ///< index of the layer whose statistics are in memory
  std::string name_;   ///< of the current head
  bool base_ = false;  ///< what is checked now: statistics without interventions
  std::map<std::string, Buffer<float>, std::less<>> stored_;
  std::map<std::string, Check> checks_;
};

}  // namespace headlight::capture
