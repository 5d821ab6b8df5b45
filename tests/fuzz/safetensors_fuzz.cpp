// A safetensors file of any bytes. Accepted tensors must tile the data exactly.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "core/formats/safetensors.h"

using namespace headlight;
using namespace headlight::formats;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data), size};
  try {
    const auto file = SafetensorsFile::parse(bytes, size, "fuzz.safetensors");
    std::uint64_t total = 0;
    for (const auto& tensor : file.tensors()) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
      if (file.find(tensor.name) != &tensor) std::abort();
      total += tensor.bytes;
    }
    if (total > size - 8) std::abort();
  } catch (const Error& error) {
    if (error.code() == Errc::internal) std::abort();
  }
  return 0;
}
