#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/attention.h"

namespace headlight::kernels {

/// Most keys that a correction reweighs: each costs a dot product and a vector per row and head.
inline constexpr std::int64_t kMostCorrectedKeys = 8;

/// Whether everything that a program does can be done after attention, by correct_rows(): it holds biases only, and
/// they name at most kMostCorrectedKeys keys.
bool can_correct(const RowProgram& program);

/// Reweights few keys after an attention kernel that knows nothing of interventions, from its output and lse alone.
/// With w_j = exp(bias_j) for the keys j of a set S, a_j = exp(s_j - lse_i):
///
///     D_i = 1 + sum_{j in S} (w_j - 1) a_j
///     o'_i = (o_i + sum_{j in S} (w_j - 1) a_j v_j) / D_i,   lse'_i = lse_i + ln D_i
///
/// Equal to adding bias_j to the scores before the softmax. Where D_i < 1e-3 the subtraction has eaten the digits, and
/// the row is computed anew. Rows with one visible key, or whose visible keys would all be masked, stay as they are.
/// Source: "ZeroTuning: Unlocking the Initial Token's Power to Enhance Large Language Models Without Training"
///
/// @param in        as attention() got it, but for program_h: what to do, [H], each with can_correct()
/// @param out_ihd   attention's output, changed in place
/// @param lse_hi    [H][lse_stride] attention's lse, changed in place
void correct_rows(ThreadPool& pool, const AttentionInputs& in, float* out_ihd, std::int64_t out_stride, float* lse_hi,
                  std::int64_t lse_stride);

}  // namespace headlight::kernels
