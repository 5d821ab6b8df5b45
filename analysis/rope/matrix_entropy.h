#pragma once

#include <span>
#include <vector>

namespace headlight::analysis {

/// Entropy of the 2 x 2 Gram matrix sum_j k_j^(f) k_j^(f)^T of each plane after the rotation, eigenvalues normalised to
/// sum 1: 0 = the plane points one way, ln 2 = every way. [D/2], NaN for a plane of zeros.
/// Source: DoPE: Denoising Rotary Position Embedding.
/// @param x_jd  keys (or queries) of a head, [rows][D]
std::vector<double> plane_entropies(std::span<const float> x_jd, int head_dim);

/// Eigenvalues of the Gram matrix K^T K, descending, clipped at 0. [D]
std::vector<double> gram_eigenvalues(std::span<const float> x_jd, int head_dim);

/// Truncated effective rank rho = exp( -sum_{i <= r} p_i ln p_i ) of eigenvalues in descending order.
///
///     top_r:  p_i = lambda_i / sum_{m <= r} lambda_m     (range [1, r]; 1 for r = 1)
///     trace:  p_i = lambda_i / sum of all                (not renormalised: the only reading with r = 1 informative)
///
/// @param r  number of eigenvalues; 0 = all
enum class RankNorm { top_r, trace };
double effective_rank(std::span<const double> eigenvalues, int r, RankNorm norm = RankNorm::top_r);

}  // namespace headlight::analysis
