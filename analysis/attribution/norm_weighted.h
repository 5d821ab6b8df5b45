#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// Attention weighted by what it carries: u[h,j] = W_O^h v[g(h),j] (value bias inside, output bias outside), and
///
///     n[h,i,j] = A_ij |u[h,j]|,   sum_i n[h,i,j] = |u[h,j]| received[h,j]
///
/// so column sums come from recorded statistics alone.
/// @see Attention is Not Only a Weight: Analyzing Transformers with Vector Norms
struct NormWeighted {
  std::vector<double> raw_j;         ///< [N] share of all attention that key j receives, mean over heads and layers
  std::vector<double> weighted_j;    ///< [N] share of all |u|-weighted attention, mean over heads and layers
  std::vector<double> first_raw_lh;  ///< [L][H] share of the first token, raw
  std::vector<double> first_weighted_lh;  ///< [L][H] the same, weighted: small where the sink is drained
};

/// Needs column statistics and u_norm. @error invalid_argument  not recorded
NormWeighted norm_weighted(const capture::CaptureView& view, std::int64_t record);

/// Norm of the summed output of all heads of a layer per key, exactly, without N^2 vectors of the model width:
///
///     N_ij = |sum_h A[h,i,j] u[h,j] + [i = j] x_i|,   N_ij^2 = a' G_j a + 2 [i = j] a' c_j + [i = j] |x_j|^2
///     a = A[:,i,j],  G_j[h,k] = <u[h,j], u[k,j]>,  c_j[h] = <u[h,j], x_j>
///
/// @param attn_hij  [H][N][N];  @param u_hjd  [H][N][d];  @param x_jd  [N][d], empty = attention only
/// @return [N][N]
std::vector<double> layer_norms(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                std::int64_t width);

/// Share of a row that comes from other tokens, from its vectors f_ij = sum_h A u + [i = j] x:
///     |sum_{j != i} f_ij| / (|sum_{j != i} f_ij| + |f_ii|),   [N], in [0, 1]
/// @see Incorporating Residual and Normalization Layers into Analysis of Masked Language Models
std::vector<double> mixing_ratio(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                 std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                 std::int64_t width);

/// Normalisations of a post-norm encoder layer: attention, residual, LN 1, feed-forward, residual, LN 2.
struct EncoderNorms {
  std::vector<double> gain1_d, gain2_d;  ///< empty = 1
  std::vector<double> deviation1_i;      ///< [N] sqrt(Var(input of LN 1 at row i) + eps), biased variance
  std::vector<double> deviation2_i;      ///< [N] the same for LN 2; empty = stop after LN 1
};

/// GlobEnc's norm of one encoder layer, [N][N]:
///
///     z   = sum_h A u + [i = j] x
///     z1  = gain1 * (z - mean(z)) / deviation1_i,   z2 = gain2 * (z1 - mean(z1)) / deviation2_i,   N_ij = |z2|
///
/// No shift of the norms and no bias; the feed-forward enters only through deviation2. Linear in z, so it is
/// layer_norms() of transformed u and x, divided by the deviations of row i.
/// @see GlobEnc: Quantifying Global Token Attribution by Incorporating the Whole Encoder Layer in Transformers
std::vector<double> encoder_norms(std::span<const float> attn_hij, std::span<const double> u_hjd,
                                  std::span<const double> x_jd, std::int64_t num_heads, std::int64_t num_rows,
                                  std::int64_t width, const EncoderNorms& norms);

/// Product N[L-1] ... N[0] of layer norms, [N][N]. As released: raw product (each layer divided by its largest entry,
/// which changes no ranking). `rownorm`: rows divided by their sums first, a different method.
std::vector<double> aggregate_norms(std::span<const std::vector<double>> layers, std::int64_t num_rows, bool rownorm);

}  // namespace headlight::analysis
