#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Strength of the sink dimensions in a residual state, after an RMS norm without gain:
///
///     phi(x) = max_{c in D} |x_c| / sqrt(mean_c x_c^2 + 1e-6)            range [0, sqrt(d)]
///
/// A token is a sink when phi > tau, tau = 20 at d = 4096, 0.3125 sqrt(d) in general. D are the channels in which the
/// massive activations of the base model live ({1415, 2533} for Llama-2-7B, {2100, 4743} for 13B).
/// Source: See What You Are Told: Visual Attention Sink in Large Multimodal Models.
/// @param x_td  [tokens][dims];  @return [tokens]
std::vector<double> sink_dimension_strength(std::span<const float> x_td, int num_dims, std::span<const int> channels);
double default_tau(int num_dims);

/// Channels in which sinks live, found from states of several levels (our rule): those whose p_c exceeds 0.25 sqrt(d)
/// in at least half of the levels given; at most 4, by descending median of p_c over the levels.
///
///     p_c = max_t r_tc - median_t r_tc,   r_tc = |x_tc| / RMS(x_t)
///
/// The median keeps channels out that are large in every token.
/// @param strength_lc  p_c of every level, [levels][dims]
std::vector<int> find_sink_channels(std::span<const double> strength_lc, int num_dims);
/// p_c of one level, [dims]
std::vector<double> channel_strength(std::span<const float> x_td, int num_dims);

/// How a head treats an image: shares of one row's attention.
struct ImageRow {
  double image = 0.0;         ///< m_I, mass on image tokens
  double sinks = 0.0;         ///< mass on image tokens that are sinks
  double rest_share() const;  ///< r = (m_I - sinks) / m_I; NaN without image mass
};
ImageRow image_row(std::span<const float> attn_j, std::span<const std::uint8_t> is_image_j,
                   std::span<const std::uint8_t> is_sink_j);

/// A head is image-centric at a row when it looks at the image and not at its sinks: m_I >= summ and r >= rho. rho is
/// 0.8 for general tasks and 0.5 for yes/no tasks. The released program asks instead for a sink portion
/// sinks / (m_I + 1e-6 n) of at most rho; `released` does so (n = number of image tokens).
struct ImageCentricOptions {
  double summ = 0.2, rho = 0.8;
  bool released = false;
  std::int64_t num_image_tokens = 0;
};
bool is_image_centric(const ImageRow& row, const ImageCentricOptions& options = {});

}  // namespace headlight::analysis
