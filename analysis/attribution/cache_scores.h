#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

/// Which keys a cache policy would keep, from one record. L = recorded layers, N = rows.
struct CacheScores {
  std::vector<double> h2o_lj;      ///< [L][N] mean over heads of sum_i A_ij; sums to N over j (less a learned sink)
  std::vector<double> per_row_lj;  ///< [L][N] the same divided by the rows that see j: without the advantage of age
  std::vector<double> tova_lj;     ///< [L][N] mean over heads of the last row; empty when it cannot be replayed
  std::vector<double> snapkv_lj;   ///< [L][N] mean over heads of the pooled votes of the last rows of the prompt
};

enum class VotePooling { average, maximum };

/// SnapKV's vote of one head: sums over the observation window, pooled over `kernel` neighbouring keys (zero padding at
/// both ends, the average divides by `kernel`); keys of the window itself are 0.
/// @param received_tail_j  sum over the window's rows;  @param window_begin  first key of the window
std::vector<double> snapkv_votes(std::span<const double> received_tail_j, std::int64_t window_begin, int kernel,
                                 VotePooling pooling);

struct CacheScoreOptions {
  int kernel = 5;  ///< odd
  VotePooling pooling = VotePooling::average;
};

/// The window of SnapKV is that of the recorded statistic received_tail.
/// @see H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models
/// @see Transformers are Multi-State RNNs (TOVA)
/// @see SnapKV: LLM Knows What You are Looking for Before Generation
CacheScores cache_scores(const capture::CaptureView& view, std::int64_t record, const CacheScoreOptions& options,
                         ThreadPool& pool, std::stop_token stop = {});

}  // namespace headlight::analysis
