#include "base/byte_reader.h"

#include <string>

namespace headlight {

std::uint64_t ByteReader::read_count(std::uint64_t limit, std::uint64_t bytes_per_item, std::string_view field) {
  const std::uint64_t at = offset();
  const auto count = read<std::uint64_t>(field);
  const ErrorContext where{.file = {}, .field = std::string(field), .offset = at, .hint = {}};
  if (count > limit)
    throw Error(Errc::bad_format, "expected at most " + std::to_string(limit) + ", found " + std::to_string(count),
                where);
  if (bytes_per_item != 0 && count > remaining() / bytes_per_item)
    throw Error(Errc::bad_format,
                "count " + std::to_string(count) + " does not fit into the " + std::to_string(remaining()) +
                    " bytes that are left",
                where);
  return count;
}

}  // namespace headlight
