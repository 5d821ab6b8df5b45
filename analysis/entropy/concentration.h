#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// How concentrated one row p of n weights is. A row that does not sum to 1 (learned sink) is taken as it is.
struct Concentration {
  double effective_support = 0.0;  ///< exp(H), tokens
  double participation = 0.0;      ///< 1 / sum p^2, tokens
  double pmax = 0.0;
  /// sum_{r=1..n} (2r - n - 1) p_(r) / (n sum p), ascending order; range [0, (n-1)/n]
  double gini = 0.0;
  std::vector<double> top_mass;        ///< C_k, mass of the k largest, for the counts asked for
  std::vector<double> top_share_mass;  ///< mass of the ceil(share n) largest, for the shares asked for
  std::vector<std::int64_t> coverage;  ///< K_c, smallest k with C_k >= c; n + 1 when the row never reaches c
};
struct ConcentrationOptions {
  std::vector<std::int64_t> counts = {1, 4, 16, 64, 256};
  std::vector<double> shares = {0.01, 0.05, 0.10};
  std::vector<double> levels = {0.5, 0.9, 0.95, 0.99};
};
/// 1 <= 1/pmax <= participation <= effective_support <= n for rows that sum to 1.
Concentration concentration(std::span<const float> attn_j, const ConcentrationOptions& options = {});

/// Weights counted in quarter octaves, b = floor(-4 log2 a), bins 0..94 down to 2^-24, the last bin holds the rest.
/// Adds up over rows, so that coverage and Gini of a head need 96 pairs of numbers and no sorting.
class WeightHistogram {
 public:
  static constexpr int kBins = 96;
  void add(std::span<const float> attn_j);

  /// Coverage size K_c of the pooled weights: off by at most the count of one bin.
  double coverage(double level) const;
  /// Gini between bins; the part inside quarter octaves, at most gini_error(), is left out.
  double gini() const;
  double gini_error() const;
  double total_mass() const;
  std::span<const double> counts() const { return count_; }
  std::span<const double> masses() const { return mass_; }

 private:
  std::array<double, kBins> count_{}, mass_{};
};

}  // namespace headlight::analysis
