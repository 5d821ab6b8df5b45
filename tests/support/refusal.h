#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"

namespace headlight::testing_support {

/// Expects `run` to throw Error{code} whose sentence and hint hold every one of `mentions`, within a second and without
/// touching more than 64 MiB of new memory. Returns the sentence.
std::string expect_refused(const std::function<void()>& run, Errc code,
                           std::initializer_list<std::string_view> mentions = {});

}  // namespace headlight::testing_support
