#pragma once

#include <span>
#include <vector>

#include "analysis/detection/token_spans.h"

namespace headlight::analysis {

struct RerankingOptions {
  double deviations = 2.0;  ///< tokens below mean - deviations * std of their document are dropped
  bool filter = true;
};

/// One document of an in-context re-ranking.
struct DocumentScore {
  double score = 0.0;        ///< sum of the kept tokens
  std::int64_t dropped = 0;  ///< tokens filtered out
};

/// In-context re-ranking: documents first, query last; rows = everything after the last document.
///
///     t_j = sum_lh mean_{i in rows} A_ij,   c_j = t_j(query) - t_j("N/A")
///     keep j iff c_j > mean(c) - 2 std(c) within its document (unbiased), score = sum of kept c_j
///
/// A document of one token keeps it.
/// @param query_j, calibration_j  t of both prompts, the documents at the same token positions
/// @see Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers
std::vector<DocumentScore> rerank(std::span<const double> query_j, std::span<const double> calibration_j,
                                  std::span<const TokenSpan> documents, const RerankingOptions& options = {});

}  // namespace headlight::analysis
