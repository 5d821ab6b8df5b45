#pragma once

#include <string>

namespace headlight::report {

/// The style sheet of a report.
std::string page_style();

}  // namespace headlight::report
