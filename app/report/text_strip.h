#pragma once

#include <string>
#include <vector>

#include "core/capture/capture_view.h"

namespace headlight::report {

/// Attention that tokens receive, mean over recorded layers and heads.
struct TokenAttention {
  std::vector<double> received_j;  ///< [N] mean over rows that see the key, in [0, 1]; NaN where none does
  std::vector<double> lift_j;      ///< [N] against the neighbours: 1 = nothing special, NaN = seen by too few rows
};

/// Even attention of row i gives 1 / n_i to each of its keys:
///     ratio_j = received_j / (mean over rows that see j of 1 / n_i),   lift_j = ratio_j / median of ratio over j +- 16
/// The median takes out that near tokens get more (towards the end of the text all rows are near). The first S tokens
/// are nobody's neighbours; keys seen by fewer than 16 rows have no lift.
TokenAttention token_attention(const capture::CaptureView& view, std::int64_t record);

/// The text, token by token, darker where a token receives more attention than its neighbours.
std::string html_text_strip(const capture::CaptureView& view, std::int64_t record, const TokenAttention& attention);

}  // namespace headlight::report
