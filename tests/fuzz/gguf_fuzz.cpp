// A GGUF file of any bytes: header, typed access, specification, weights. What is accepted must survive being written
// and read again.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/log.h"
#include "core/formats/config.h"
#include "core/formats/gguf.h"
#include "core/formats/gguf_writer.h"
#include "core/formats/stored_tensors.h"

using namespace headlight;
using namespace headlight::formats;

namespace {

void load_model(const GgufFile& file, std::span<const std::byte> bytes) {
  const auto read_floats = [&](const GgufTensor& tensor) {
    if (tensor.ggml_type != 0 || tensor.bytes > 4096) throw Error(Errc::bad_format, "factors");
    std::vector<float> values(tensor.bytes / sizeof(float));
    std::memcpy(values.data(), bytes.data() + tensor.offset, tensor.bytes);
    return values;
  };
  const ModelSpec spec = spec_from_gguf(file, read_floats);
  validate(spec);
  Weights weights;
  load_weights(spec, stored_from_gguf(spec, file, [&](int, std::uint64_t offset) { return bytes.data() + offset; }), {},
               weights);
  if (weights.total_bytes() > 4 * bytes.size()) std::abort();
}

void check_round_trip(const GgufFile& file, std::span<const std::byte> bytes) {
  GgufWriter writer;
  writer.add_metadata_of(file);
  for (const auto& tensor : file.tensors())
    writer.add_tensor(tensor.name, *tensor_type_from_ggml(tensor.ggml_type), tensor.shape,
                      bytes.subspan(tensor.offset, tensor.bytes));
  const auto written = writer.bytes();
  const auto again = GgufFile::parse(written, written.size(), "again");
  if (again.tensors().size() != file.tensors().size()) std::abort();
  for (std::size_t t = 0; t < file.tensors().size(); ++t) {
    const auto &a = file.tensors()[t], &b = again.tensors()[t];
    if (a.name != b.name || a.shape != b.shape || a.bytes != b.bytes) std::abort();
    if (std::memcmp(bytes.data() + a.offset, written.data() + b.offset, a.bytes) != 0) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  set_log_level(LogLevel::error);
  // Aligned as a mapped file is.
  const auto storage = std::make_unique<std::uint64_t[]>(size / 8 + 1);
  std::memcpy(storage.get(), data, size);
  const std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(storage.get()), size};
  try {
    const auto file = GgufFile::parse(bytes, size, "fuzz.gguf");
    check_round_trip(file, bytes);
    load_model(file, bytes);
  } catch (const Error& error) {
    if (error.code() == Errc::internal || *error.what() == '\0') std::abort();
  }
  return 0;
}
