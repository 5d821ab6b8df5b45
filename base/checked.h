#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>

namespace headlight {

/// Arithmetic on sizes that come from a file: nullopt on overflow, never a wrapped value.
template <class T>
constexpr std::optional<T> checked_add(T a, T b) {
  T r{};
  return __builtin_add_overflow(a, b, &r) ? std::nullopt : std::optional<T>(r);
}

template <class T>
constexpr std::optional<T> checked_mul(T a, T b) {
  T r{};
  return __builtin_mul_overflow(a, b, &r) ? std::nullopt : std::optional<T>(r);
}

/// Product of all entries; nullopt on overflow. An empty span gives 1 (a scalar).
template <class T>
constexpr std::optional<std::remove_const_t<T>> checked_product(std::span<T> values) {
  std::optional<std::remove_const_t<T>> product = 1;
  for (auto v : values)
    if (product) product = checked_mul<std::remove_const_t<T>>(*product, v);
  return product;
}

}  // namespace headlight
