#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "analysis/findings/findings.h"
#include "analysis/record_shape.h"

namespace headlight::analysis::rules {

/// Head values of a statistic, [L][H]; empty when the capture does not have it.
std::vector<double> head_values(const FindingsInput& input, std::string_view statistic);

/// Cells whose values pass, largest value first (ties by the smaller cell).
std::vector<std::size_t> ranked(std::span<const double> value_lh, const std::function<bool(double)>& passes);

/// Heads of the first 12 cells.
std::vector<heads::HeadId> head_ids(const RecordShape& shape, std::span<const std::size_t> cells);

/// "L3H2, L7H1 and 4 more".
std::string name_list(const RecordShape& shape, std::span<const std::size_t> cells, std::size_t shown = 3);

/// "1 of 270 heads gives", "12 of 270 heads give".
std::string count_of_heads(std::size_t count, std::size_t all, const std::string& verb_plural, const std::string& verb);

/// "94 %".
std::string percent(double share);

/// A quoted token for a sentence: "' the'".
std::string quoted_token(const FindingsInput& input, std::int64_t position);

}  // namespace headlight::analysis::rules
