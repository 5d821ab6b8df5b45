#include "core/formats/utf8.h"

#include <utf8proc.h>

namespace headlight::formats {

bool is_printable_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(bytes, left, &character);
    if (used <= 0 || character < 0x20 || character == 0x7f) return false;
    bytes += used;
    left -= used;
  }
  return true;
}

}  // namespace headlight::formats
