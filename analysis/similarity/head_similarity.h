#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "analysis/similarity/row_similarity.h"
#include "base/thread_pool.h"
#include "core/capture/capture_view.h"

namespace headlight::analysis {

struct RowSampleOptions {
  std::int64_t rows = 128;     ///< sampled rows; the whole record when it is shorter
  std::int64_t tail = 32;      ///< of them, the last ones
  std::int64_t drop_sink = 4;  ///< first keys left out before rows are compared; 0 = none
  std::int64_t top_k = 64;
};

/// Heads and layers compared row by row. L = recorded layers; heads that are not recorded are NaN.
struct RowSimilarity {
  std::int64_t rows = 0;               ///< rows that were compared
  std::vector<double> mean_lab;        ///< [L][H][H] mean over rows, heads a and b of one layer
  std::vector<double> error_lab;       ///< [L][H][H] standard error of that mean over rows
  std::vector<double> layer_mean_lm;   ///< [L][L] of head-averaged rows of layers l and m
  std::vector<double> layer_error_lm;  ///< [L][L]
};

/// Mean of compare_rows() over sampled rows of one record. Needs level replay; memory O(rows x N x L).
/// @error invalid_argument  no q and k; cancelled
RowSimilarity row_similarity(const capture::CaptureView& view, std::int64_t record, RowMeasure measure,
                             const RowSampleOptions& options, ThreadPool& pool, std::stop_token stop = {});

/// Linear CKA of head outputs o_i = sum_j A_ij v_j over sampled rows (the sink is not left out: it carries no value).
/// [L][H][H] within layers; NaN for heads that are not recorded.
/// @error invalid_argument  no q and k or no v; cancelled
std::vector<double> output_cka(const capture::CaptureView& view, std::int64_t record, std::int64_t rows,
                               ThreadPool& pool, std::stop_token stop = {});

struct ProfileOptions {
  std::int64_t drop_sink = 4;  ///< first keys left out
  bool per_row = false;        ///< received_mean instead of received: without the advantage of early keys
};

/// Spearman correlation of what keys receive: a cheap stand-in for the comparison of maps.
struct ProfileSimilarity {
  std::vector<double> head_ab;   ///< [L H][L H], in [-1, 1]
  std::vector<double> layer_lm;  ///< [L][L] of the sums over heads
};
/// Needs column statistics only.
ProfileSimilarity profile_similarity(const capture::CaptureView& view, std::int64_t record,
                                     const ProfileOptions& options);

}  // namespace headlight::analysis
