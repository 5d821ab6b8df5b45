#pragma once

#include <string>

#include "app/cli/invocation.h"

namespace headlight::cli {

/// `compare A.json B.json`: drift of scores and roles between two head plans. @error as heads::load_headplan()
void compare_plans(Invocation& invocation, const std::string& a, const std::string& b, int top);

}  // namespace headlight::cli
