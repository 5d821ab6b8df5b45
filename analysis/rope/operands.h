#pragma once

#include <string>
#include <vector>

#include "analysis/record_shape.h"

namespace headlight::analysis {

/// Rotary base of the model. @error invalid_argument  the capture names none
double rope_base(const AnalysisInput& input);
/// Whether the model rescales its frequencies (YaRN, llama3, ...), and the caveat that says so.
bool has_scaled_rope(const AnalysisInput& input);
std::string scaling_note(const AnalysisInput& input);

/// Keys from the first token on, [N - p][D].
std::vector<float> read_keys(const AnalysisInput& input, const RecordShape& shape, int layer, int kv_head);
/// Queries of the rows that are kept, [rows][D]; empty for a head that is not recorded.
std::vector<float> read_queries(const AnalysisInput& input, const RecordShape& shape, int layer, int head);

}  // namespace headlight::analysis
