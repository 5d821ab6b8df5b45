#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// A head that sees the first tokens and a window that grows with the text.
struct SpanRule {
  double alpha = 0.0, beta = 0.0;

  /// S(N) = alpha + beta N tokens, before rounding.
  double span(std::int64_t num_tokens) const { return alpha + beta * static_cast<double>(num_tokens); }
  /// ceil(max(min(trunc(alpha + beta N), N), 128) / 64) * 64: what is kept of N tokens at run time.
  std::int64_t runtime_span(std::int64_t num_tokens) const;
  /// Of those, the first tokens: min(runtime_span, 64).
  std::int64_t sink_part(std::int64_t num_tokens) const;
};

/// Mean over heads of S(N) / N.
double span_density(std::span<const SpanRule> rules, std::int64_t num_tokens);

/// First-order change of the loss when one attention entry is masked and its row renormalised:
///
///     E_j = A_j (sum_k g_k A_k - g_j) / (1 - A_j),   g = d loss / d A;   a row with a single key: -g_0 A_0
///
/// @see MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression
std::vector<double> masking_influence(std::span<const double> attn_j, std::span<const double> gradient_j);

struct SpanCoverageOptions {
  std::int64_t sink = 64;   ///< first tokens always kept
  double coverage = 0.95;   ///< share of the attention that must be kept, mean over rows
  std::int64_t rows = 128;  ///< sampled rows, the last 32 among them
  std::int64_t block = 64;  ///< spans are multiples of it
};

struct SpanCoverage {
  std::vector<double> span_lh;  ///< [L][H] smallest span S such that the first `sink` and the last S - sink tokens hold
                                ///< `coverage` of the attention; NaN = not recorded
  double density = 0.0;         ///< mean over heads of min(S, N) / N
};

/// How far each head has to see: the attention-only reading of MoA's spans, without gradients.
/// @error invalid_argument  no q and k; cancelled
SpanCoverage span_coverage(const capture::CaptureView& view, std::int64_t record, const SpanCoverageOptions& options,
                           ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
