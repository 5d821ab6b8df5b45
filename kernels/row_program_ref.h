#pragma once

#include <vector>

#include "kernels/row_program.h"

namespace headlight::kernels {

// The definition of a row program in float64, literally from the formulas of RowOp: a weight, a bias and a group for
// every key of the row. For tests and self tests.

/// What scale_keys multiplies each score with, for keys [keys.begin, keys.end).
std::vector<double> reference_key_scales(const RowProgram& program, std::int64_t position, KeyRange keys);

/// temperature, raise and bias.
void reference_change_scores(const RowProgram& program, std::int64_t position, KeyRange keys,
                             std::vector<double>& scores);

/// What scale_values multiplies each value with.
std::vector<double> reference_value_scales(const RowProgram& program, std::int64_t position, KeyRange keys);

/// The step on weights A.
void reference_change_weights(const RowProgram& program, std::int64_t position, KeyRange keys,
                              std::vector<double>& attn_j);

}  // namespace headlight::kernels
