#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// How a model reads logits from what heads write, with the final norm taken as linear at the state it sees:
///
///     logit_t - mean_f logit_f = w . x / s,    w = gamma (U_t - mean_f U_f),    s = rms(x) or the standard deviation
///
/// up to the constant that a bias of the norm or of the output adds. Logits are those before a soft cap.
struct LogitReader {
  /// w, [d]; centred for a LayerNorm, which takes the mean of x away.
  std::function<std::vector<double>(std::int32_t target, std::span<const std::int32_t> foils)> direction;
  /// s of a state before the final norm.
  std::function<double(std::span<const float> x_d)> norm_scale;
  /// W_O^T w of a layer for each of the directions [n][d]: [n][H * D].
  std::function<std::vector<double>(int layer, std::span<const double> direction_nd)> through_output;
};

/// Direct logit attribution of every head at one row of a record: the part of a difference of logits that the head's
/// output adds to the residual stream,
///
///     DLA[l,h] = (W_O,h^T w) . o[l,h,i] / s,      o = sum_j A_ij v_j
///
/// Together with the same of embedding, feed-forward parts and biases these are the difference.
/// Source: Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small.
/// @param direction_d, scale  of LogitReader, at row `row`
/// @param attn_hj  attention of the row, [L * H][keys];  the capture holds v of the keys
/// @return [L][H]
std::vector<double> logit_attribution(const capture::CaptureView& view, std::int64_t record, const LogitReader& reader,
                                      std::span<const double> direction_d, double scale,
                                      std::span<const std::vector<float>> attn_hj);

/// Where a value stands among the others: how many are larger, or equal with a lower index.
std::size_t rank_of(std::span<const double> values, std::size_t index);

struct NameMoverOptions {
  double copies = 0.5;      ///< smallest copy score
  double top_share = 0.05;  ///< of all heads by attribution, at least one
  double at_answer = 0.5;   ///< smallest share of prompts in which the largest weight is on the answer
};

/// 1 for heads that copy, look at the answer and are among those that add most to it; 0 for others. For heads that
/// speak against what they see: `copy_h` of the negative, and the sign of the attribution turned. [L][H]
std::vector<double> name_movers(std::span<const double> attribution_h, std::span<const double> at_answer_h,
                                std::span<const double> copy_h, const NameMoverOptions& options = {});

}  // namespace headlight::analysis
