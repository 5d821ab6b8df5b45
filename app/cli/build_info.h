#pragma once

#include <string>

namespace headlight::cli {

std::string build_commit();    ///< git commit the build was configured from, or "unknown"
std::string build_type();      ///< "Release", ...
std::string build_compiler();  ///< "GCC 12.2.0"
std::string cpu_name();        ///< model name of the first processor

}  // namespace headlight::cli
