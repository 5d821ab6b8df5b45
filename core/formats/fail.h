#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::formats {

/// Where in a file something is wrong; the file itself is named by whoever opened it (Error::in_file).
struct Place {
  std::string field;
  std::optional<std::uint64_t> offset = {};
  std::string hint = {};
};

inline std::string tensor_field(std::string_view name) {
  return fmt::format("tensor '{}'", name);
}

/// Throws Error{code} with a formatted sentence.
template <class... Args>
[[noreturn]] void fail(Errc code, Place place, fmt::format_string<Args...> sentence, Args&&... args) {
  ErrorContext context;
  context.field = std::move(place.field);
  context.offset = place.offset;
  context.hint = std::move(place.hint);
  throw Error(code, fmt::format(sentence, std::forward<Args>(args)...), std::move(context));
}

/// Throws Error{bad_format}.
template <class... Args>
[[noreturn]] void bad_format(Place place, fmt::format_string<Args...> sentence, Args&&... args) {
  fail(Errc::bad_format, std::move(place), sentence, std::forward<Args>(args)...);
}

}  // namespace headlight::formats
