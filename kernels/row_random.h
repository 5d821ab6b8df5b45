#pragma once

#include <cstdint>

#include "base/split_mix.h"

namespace headlight::kernels {

/// Numbers that depend on (seed, row, key) only: the same for any batch, thread count and length of the prompt.
/// @see Fast Splittable Pseudorandom Number Generators (the finaliser of SplitMix64)
class RowRandom {
 public:
  RowRandom(std::uint64_t seed, std::int64_t row) : state_(mixed(mixed(seed) + static_cast<std::uint64_t>(row))) {}

  /// In (0, 1], 24 bits.
  double uniform(std::int64_t key) const { return static_cast<double>((word(key) >> 40) + 1) / 16777216.0; }
  /// In [0, count).
  std::int64_t below(std::int64_t key, std::int64_t count) const {
    return static_cast<std::int64_t>(word(key) % static_cast<std::uint64_t>(count));
  }

 private:
  static std::uint64_t mixed(std::uint64_t z) { return SplitMix64(z).next(); }
  std::uint64_t word(std::int64_t key) const { return mixed(state_ + static_cast<std::uint64_t>(key)); }

  std::uint64_t state_;
};

}  // namespace headlight::kernels
