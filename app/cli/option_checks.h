#pragma once

#include <CLI/CLI.hpp>

namespace headlight::cli {

/// Numbers from `low` to `high`; unlike CLI::Range it refuses NaN.
CLI::Validator number_within(double low, double high);

/// Whole numbers from 0 to 2^64 - 1; CLI11 alone takes "-1" for the largest and ends at it what is larger.
CLI::Validator unsigned_integer();

}  // namespace headlight::cli
