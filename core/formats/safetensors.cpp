#include "core/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/buffer.h"
#include "base/byte_reader.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "core/formats/fail.h"
#include "core/formats/safetensors_header.h"

namespace headlight::formats {
namespace {

constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
constexpr std::uint64_t kMaxIndexBytes = 32u << 20;
constexpr std::uint64_t kMaxTensorElements = 1ull << 40;

struct Dtype {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr std::array<Dtype, 13> kDtypes{{{"F64", 8},
                                         {"F32", 4},
                                         {"F16", 2},
                                         {"BF16", 2},
                                         {"I64", 8},
                                         {"I32", 4},
                                         {"I16", 2},
                                         {"I8", 1},
                                         {"U64", 8},
                                         {"U32", 4},
                                         {"U16", 2},
                                         {"U8", 1},
                                         {"BOOL", 1}}};

std::uint64_t dtype_bytes(const SafetensorsEntry& entry) {
  for (const auto& dtype : kDtypes)
    if (dtype.name == entry.dtype) return dtype.bytes;
  fail(Errc::unsupported, {tensor_field(entry.name)}, "unsupported dtype '{:.40}'", entry.dtype);
}

/// Checks one entry against the size of the data buffer; offsets become absolute.
SafetensorsTensor checked_tensor(const SafetensorsEntry& entry, std::uint64_t data_start, std::uint64_t data_bytes) {
  const std::string field = tensor_field(entry.name);
  SafetensorsTensor tensor{.name = entry.name, .dtype = entry.dtype, .shape = {}};
  std::uint64_t elements = 1;
  for (const auto length : entry.shape) {
    const auto product = checked_mul(elements, length);
    if (!product || *product > kMaxTensorElements || length > kMaxTensorElements)
      bad_format({field + " shape"}, "more than 2^40 elements");
    elements = *product;
    tensor.shape.push_back(static_cast<std::int64_t>(length));
  }
  const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  if (begin > end) bad_format({field + " data_offsets"}, "end {} lies before begin {}", end, begin);
  if (end > data_bytes)
    bad_format({field + " data_offsets"}, "end {} lies beyond the {} bytes of data", end, data_bytes);
  const std::uint64_t expected = elements * dtype_bytes(entry);
  if (end - begin != expected)
    bad_format({field + " data_offsets"}, "{} elements of {} need {} bytes, found {}", elements, entry.dtype, expected,
               end - begin);
  tensor.offset = data_start + begin;
  tensor.bytes = end - begin;
  return tensor;
}

/// The tensors, in order of offset, must explain every byte behind the header.
void check_tiling(const std::vector<SafetensorsTensor>& tensors, std::uint64_t start, std::uint64_t file_size) {
  std::uint64_t position = start;
  for (const auto& tensor : tensors) {
    if (tensor.offset != position)
      bad_format({tensor_field(tensor.name), tensor.offset}, "{} the tensor before it: expected data at {}, found {}",
                 tensor.offset < position ? "overlaps" : "leaves a hole behind", position - start,
                 tensor.offset - start);
    position += tensor.bytes;
  }
  if (position != file_size) bad_format({"data", position}, "{} bytes follow the last tensor", file_size - position);
}

void check_start(std::span<const std::byte> bytes, std::uint64_t file_size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("version https://git-l"))
    bad_format({"header", 0, "Fetch the file itself with `git lfs pull`."},
               "is a git-LFS pointer, not the model file it stands for");
  if (file_size < 8) bad_format({"header"}, "a safetensors file has at least 8 bytes, found {}", file_size);
}

std::uint64_t header_length(ByteReader& in, std::uint64_t file_size) {
  const auto length = in.read<std::uint64_t>("header length");
  if (length == 0 || length > kMaxSafetensorsHeader)
    bad_format({"header length", 0}, "expected 1 to {}, found {}", kMaxSafetensorsHeader, length);
  if (length > file_size - 8)
    bad_format({"header length", 0}, "{} bytes do not fit into the file of {} bytes", length, file_size);
  return length;
}

}  // namespace

std::optional<TensorType> SafetensorsTensor::type() const {
  if (dtype == "F32") return TensorType::f32;
  if (dtype == "F16") return TensorType::f16;
  if (dtype == "BF16") return TensorType::bf16;
  return std::nullopt;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::uint64_t file_size,
                                       const std::string& name) {
  try {
    check_start(bytes, file_size);
    ByteReader in(bytes);
    const auto length = header_length(in, file_size);
    const auto json = in.take(length, "header");
    const std::string_view text(reinterpret_cast<const char*>(json.data()), json.size());
    if (text.front() != '{') bad_format({"header", 8}, "expected a JSON object beginning with '{{'");
    if (const auto nul = text.find('\0'); nul != std::string_view::npos)
      bad_format({"header", 8 + nul}, "not valid JSON: a NUL byte");
    SafetensorsHeaderReader reader;
    nlohmann::json::sax_parse(text.begin(), text.end(), &reader);

    SafetensorsFile file;
    file.paths_ = {name};
    file.metadata_ = reader.take_metadata();
    const std::uint64_t start = 8 + length;
    for (const auto& entry : reader.take_entries())
      file.tensors_.push_back(checked_tensor(entry, start, file_size - start));
    std::stable_sort(file.tensors_.begin(), file.tensors_.end(), [](const auto& a, const auto& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;  // empty tensors come first
    });
    check_tiling(file.tensors_, start, file_size);
    return file;
  } catch (const Error& error) {
    throw error.in_file(name);
  }
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  const InputFile file(path);
  std::array<std::byte, 64> start{};
  const std::span<std::byte> head(start.data(), std::min<std::uint64_t>(file.size(), start.size()));
  file.read_at(0, head);
  std::uint64_t length = 0;
  try {
    check_start(head, file.size());
    ByteReader in(head);
    length = header_length(in, file.size());
    // Both ends are looked at before the header is read: a sparse file cannot make us allocate its claimed length.
    std::array<std::byte, 1> last{};
    file.read_at(8 + length - 1, last);
    const auto end = static_cast<char>(last[0]);
    if (head[8] != std::byte{'{'} || (end != '}' && end != ' ' && end != '\n'))
      bad_format({"header", 8}, "expected a JSON object between '{{' and '}}'");
  } catch (const Error& error) {
    throw error.in_file(path.string());
  }
  Buffer<std::byte> header(8 + length);
  file.read_at(0, header);
  return parse(std::span<const std::byte>(header.data(), header.size()), file.size(), path.string());
}

SafetensorsFile SafetensorsFile::open_folder(const std::filesystem::path& folder) {
  const auto single = folder / "model.safetensors";
  if (std::filesystem::exists(single)) return open(single);
  const auto index = folder / "model.safetensors.index.json";
  if (std::filesystem::exists(index)) return open_sharded(index);
  throw Error(Errc::not_found, "has neither model.safetensors nor model.safetensors.index.json",
              {.file = folder.string(), .field = {}, .offset = {}, .hint = {}});
}

SafetensorsFile SafetensorsFile::open_sharded(const std::filesystem::path& index) {
  const Json json = load_json(index.string(), {.max_bytes = kMaxIndexBytes});
  SafetensorsFile whole;
  try {
    const Json* map = json_find(json, "weight_map");
    if (!map || !map->is_object() || map->empty())
      bad_format({"weight_map"}, "expected an object that names a file for every tensor");
    std::map<std::string, std::set<std::string, std::less<>>> wanted;  // shard -> tensors
    for (const auto& [tensor, shard] : map->items()) {
      if (!shard.is_string()) bad_format({"weight_map." + tensor}, "expected a string, found {}", shard.type_name());
      const auto& name = shard.get_ref<const std::string&>();
      if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
          name.find('\\') != std::string::npos || name.find('\0') != std::string::npos)
        bad_format({"weight_map." + tensor}, "expected the plain name of a file in the same folder, found '{}'", name);
      wanted[name].insert(tensor);
    }
    std::uint64_t total = 0;
    for (auto& [name, tensors] : wanted) {
      const auto path = index.parent_path() / name;
      SafetensorsFile shard = open(path);
      for (auto& tensor : shard.tensors_) {
        if (tensors.erase(tensor.name) == 0) continue;
        tensor.part = static_cast<int>(whole.paths_.size());
        total += tensor.bytes;
        whole.tensors_.push_back(std::move(tensor));
      }
      if (!tensors.empty())
        throw Error(Errc::bad_format, "the index places it in this shard, which does not hold it",
                    {.file = path.string(), .field = tensor_field(*tensors.begin()), .offset = {}, .hint = {}});
      whole.paths_.push_back(path);
    }
    const Json* metadata = json_find(json, "metadata");
    if (metadata && metadata->is_object()) {
      const auto declared = json_number_or(*metadata, "total_size", static_cast<double>(total), "metadata");
      if (declared != static_cast<double>(total))
        log_warning(
            fmt::format("{}: metadata.total_size is {}, the tensors have {} bytes", index.string(), declared, total));
    }
    return whole;
  } catch (const Error& error) {
    throw error.in_file(index.string());
  }
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& t) { return t.name == name; });
  return it == tensors_.end() ? nullptr : &*it;
}

}  // namespace headlight::formats
