#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/json.h"

namespace headlight::analysis {

/// Rotary embedding turns plane f of a head by the angle position * theta_f, theta_f = base^(-2f/D), f = 0 fastest. In
/// captures plane f holds the components f and f + D/2, whatever the model file had.
double plane_frequency(int plane, int head_dim, double base);
double plane_wavelength(int plane, int head_dim, double base);  ///< 2 pi / theta_f, tokens

/// Mean length of each plane of q or k, U[f] = mean_i |x_i^(f)|. Rotation does not change it. [D/2]
/// Source: Round and Round We Go! What makes Rotary Positional Encodings useful?
/// @param x_id  [rows][D]
std::vector<double> plane_usage(std::span<const float> x_id, int head_dim);

/// sum_f f U_f / sum_f U_f: low = fast planes. NaN when nothing is used.
double spectral_centroid(std::span<const double> usage_f);
/// Share of sum_f U_f in planes [begin, end).
double band_usage(std::span<const double> usage_f, int begin, int end);

/// Planes with a wavelength of at most `tokens`: [0, result). They are the fast ones, which tell positions apart.
int planes_up_to(double tokens, int head_dim, double base);

/// How much each band of planes has to do with the score of a pair: with c_f = <q^(f), k^(f)>,
///
///     share(band) = |sum_{f in band} c_f| / sum_f |c_f|
///
/// @return {share of planes [0, high_end), share of planes [low_begin, D/2)}; NaN when all c_f are 0
struct BandShare {
  double high = 0.0, low = 0.0;
};
BandShare band_share(std::span<const float> q_d, std::span<const float> k_d, int high_end, int low_begin);

/// Undoes the rotation of planes [begin, D/2) of a vector at `position`: what p-RoPE without the slow planes would have
/// multiplied (with the weights as they are). @param x_d  changed in place
void unrotate(std::span<float> x_d, std::int64_t position, int begin, double base);

/// Pearson correlation of the pairs where both are defined; NaN with fewer than two or without variance.
double correlation(std::span<const double> x, std::span<const double> y);

}  // namespace headlight::analysis
