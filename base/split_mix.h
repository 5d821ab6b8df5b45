#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace headlight {

/// 64 bits of FNV-1a.
constexpr std::uint64_t fnv1a64(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

/// The SplitMix64 generator, with draws that are the same on every platform (those of <random> are not).
///
///     s += 0x9E3779B97F4A7C15;  z = s;  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
///     z = (z ^ z >> 27) * 0x94D049BB133111EB;  return z ^ z >> 31
///
/// @see Fast Splittable Pseudorandom Number Generators
class SplitMix64 {
 public:
  explicit constexpr SplitMix64(std::uint64_t seed) : state_(seed) {}

  /// An independent stream: the first draw of a generator seeded with base ^ fnv1a64(kind) ^ index * the increment.
  static constexpr SplitMix64 stream(std::uint64_t base, std::string_view kind, std::uint64_t index) {
    return SplitMix64(SplitMix64(base ^ fnv1a64(kind) ^ (index * kIncrement)).next());
  }

  constexpr std::uint64_t next() {
    state_ += kIncrement;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  /// Uniform in [0, n), n >= 1: draws at or above floor(2^64 / n) n are thrown away.
  constexpr std::uint64_t below(std::uint64_t n) {
    const std::uint64_t excess = (0 - n) % n;  // 2^64 mod n
    std::uint64_t x = next();
    while (x > ~std::uint64_t{0} - excess) x = next();
    return x % n;
  }

  /// Uniform in [0, 1) with 53 bits.
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// Fisher and Yates from the last element down.
  template <class Container>
  constexpr void shuffle(Container& items) {
    for (std::size_t i = items.size(); i-- > 1;) std::swap(items[i], items[static_cast<std::size_t>(below(i + 1))]);
  }

 private:
  static constexpr std::uint64_t kIncrement = 0x9E3779B97F4A7C15ull;
  std::uint64_t state_;
};

}  // namespace headlight
