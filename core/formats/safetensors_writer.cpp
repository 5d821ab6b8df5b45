#include "core/formats/safetensors_writer.h"

#include <bit>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace headlight::formats {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

void SafetensorsWriter::add(const std::string& name, TensorType type, std::vector<std::int64_t> shape,
                            std::span<const std::byte> data) {
  std::uint64_t count = 1;
  for (const std::int64_t length : shape) count *= static_cast<std::uint64_t>(length);
  HEADLIGHT_CHECK(!name.empty() && data.size() == row_bytes(type, static_cast<std::int64_t>(count)));
  tensors_.push_back({name, type, std::move(shape), data});
}

void SafetensorsWriter::write(const std::filesystem::path& path, bool overwrite) const {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t offset = 0;
  for (const auto& tensor : tensors_) {
    const std::uint64_t end = offset + tensor.data.size();
    header[tensor.name] = {{"dtype", info(tensor.type).name}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  OutputFile file(path, overwrite);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const auto& tensor : tensors_) file.write(tensor.data);
  file.commit();
}

}  // namespace headlight::formats
