// A config.json of any bytes: a specification that passes validate() or an error, never anything else.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "core/formats/config.h"

using namespace headlight;
using namespace headlight::formats;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    ModelSpec spec = spec_from_config(parse_json({reinterpret_cast<const char*>(data), size}));
    validate(spec);
    if (spec.num_heads % spec.num_kv_heads != 0 || spec.rotary_dim > spec.head_dim) std::abort();
    if (!std::isfinite(spec.attention_scale) || !std::isfinite(spec.rope.theta)) std::abort();
  } catch (const Error& error) {
    if (error.code() == Errc::internal) std::abort();
  }
  return 0;
}
