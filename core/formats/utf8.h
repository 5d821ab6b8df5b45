#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace headlight::formats {

/// True when `text` is well-formed UTF-8 without control characters: fit to be a key or a name in a message.
bool is_printable_utf8(std::string_view text);

}  // namespace headlight::formats
