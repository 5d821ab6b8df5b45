#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace headlight::report {

/// Text for HTML, inside elements and quoted attributes: markup escaped, ill-formed UTF-8, control, direction and
/// invisible characters shown as code points, spaces kept.
std::string html_text(std::string_view text);

/// One token of the captured text: as html_text(), line breaks as a mark followed by a break.
std::string html_token(std::string_view piece);

/// <table> with a head row; cells are HTML already. `numeric` columns are set right.
std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                       const std::vector<bool>& numeric);

/// Short number of a cell: 0.123, 12.3, 1234; "-" for NaN.
std::string number_text(double value);

}  // namespace headlight::report
