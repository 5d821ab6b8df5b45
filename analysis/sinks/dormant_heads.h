#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/capture/derive.h"

namespace headlight::analysis {

/// Share of rows whose mass on the first token is above `threshold`, over rows that see another key too. [heads].
/// Source: Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs.
/// @param first_hi  row statistic `first`, [heads][N]
std::vector<double> dormant_rows(std::span<const float> first_hi, const capture::LayerGeometry& geometry,
                                 double threshold = 0.5);

/// Thresholds on the mean mass on the first token in a domain. The paper shows the phenomenon in pictures; these are
/// ours.
struct DormancyOptions {
  double dormant = 0.8;   ///< at or above: dormant in the domain
  double active = 0.4;    ///< at or below: active in it
  double contrast = 0.3;  ///< largest minus smallest mean over domains, at or above: active-dormant
};
enum class Dormancy { undefined, active, between, dormant };
std::string_view to_string(Dormancy dormancy);
Dormancy dormancy_of(double mean_first, const DormancyOptions& options = {});

/// Largest minus smallest over domains; NaN when fewer than two are defined. @param mean_dh  [domains][heads]
std::vector<double> dormancy_contrast(std::span<const double> mean_dh, std::size_t num_heads);

/// Entropy of a column over its rows, relative to its maximum: with S_j = sum_i A_ij,
///
///     H_j = ln S_j - (1 / S_j) sum_i A_ij ln A_ij,   divided by ln c_j;   0 where c_j = 1 or S_j = 0
///
/// High: every row gives the key about the same. Adds up rows in the order given, in float64.
class ColumnEntropy {
 public:
  explicit ColumnEntropy(const capture::LayerGeometry& geometry);
  void add_row(kernels::KeyRange keys, std::span<const float> attn_j);
  std::vector<double> normalized() const;  ///< [N]

 private:
  capture::LayerGeometry geometry_;
  std::vector<double> mass_, mass_log_, rows_;
};

/// A head whose rows are concentrated and one of whose columns is even: it looks at one place whatever the query.
///
///     mean_i H_i / ln n_i < row_threshold  and  max_j H_j / ln c_j > column_threshold
///
/// `row_entropy` is the mean over all rows, a row with one key counting 0.
struct SinkLikeOptions {
  double row_threshold = 0.35, column_threshold = 0.95;  ///< free parameters of the method; these are ours
};
bool is_sink_like(double row_entropy, double column_entropy, const SinkLikeOptions& options = {});

}  // namespace headlight::analysis
