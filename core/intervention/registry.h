#pragma once

#include "core/intervention/method.h"

namespace headlight::intervention {

/// Adds a method behind the built-in ones, for the rest of the program. Before methods() is used by other threads.
/// @error bad_format  the id is taken
void register_method(Method method);

}  // namespace headlight::intervention
