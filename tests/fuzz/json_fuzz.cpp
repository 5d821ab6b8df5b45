// JSON of any bytes. What the strict reader accepts, the plain parser accepts too, and its dump reads back the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"

using namespace headlight;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Json json = parse_json(text, {.max_bytes = 1u << 20, .max_depth = 16});
    if (!Json::accept(text)) std::abort();
    const std::string dumped = dump_json(json);
    // One level is enough for the comparison of numbers: a double may print as one that reads back the same.
    if (dump_json(parse_json(dumped, {.max_bytes = 64u << 20, .max_depth = 16})) != dumped) std::abort();
  } catch (const Error& error) {
    if (error.code() != Errc::bad_format) std::abort();
  }
  return 0;
}
