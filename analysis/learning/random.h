#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace headlight::analysis {

/// Random numbers that are the same with every standard library: the engine is fixed by the standard, its
/// distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// Uniform in [0, 1).
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  /// Uniform in [0, count), count >= 1.
  std::int64_t below(std::int64_t count) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(count));
  }
  /// Standard normal (Box and Muller).
  double normal();

  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::int64_t n = std::ssize(values); n > 1; --n) std::swap(values[n - 1], values[below(n)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace headlight::analysis
