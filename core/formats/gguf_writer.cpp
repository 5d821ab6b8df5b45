#include "core/formats/gguf_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "core/formats/fail.h"
#include "core/formats/gguf_types.h"

namespace headlight::formats {
namespace {

constexpr std::uint64_t kAlignment = 32;

std::uint64_t padded(std::uint64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

class Bytes {
 public:
  template <class T>
  void put(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void put_string(std::string_view text) {
    put<std::uint64_t>(text.size());
    const auto* raw = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), raw, raw + text.size());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }
  std::size_t size() const { return bytes_.size(); }
  void pad() { bytes_.resize(padded(bytes_.size())); }

 private:
  std::vector<std::byte> bytes_;
};

template <class T>
void put_checked(Bytes& out, std::int64_t value, const std::string& key) {
  if (value < static_cast<std::int64_t>(std::numeric_limits<T>::min()) ||
      (value > 0 && static_cast<std::uint64_t>(value) > static_cast<std::uint64_t>(std::numeric_limits<T>::max())))
    fail(Errc::invalid_argument, {key}, "{} does not fit the type of its key", value);
  out.put(static_cast<T>(value));
}

void put_integer(Bytes& out, std::uint32_t type, std::int64_t value, const std::string& key) {
  switch (type) {
    case kU8:
      return put_checked<std::uint8_t>(out, value, key);
    case kI8:
      return put_checked<std::int8_t>(out, value, key);
    case kU16:
      return put_checked<std::uint16_t>(out, value, key);
    case kI16:
      return put_checked<std::int16_t>(out, value, key);
    case kU32:
      return put_checked<std::uint32_t>(out, value, key);
    case kI32:
      return put_checked<std::int32_t>(out, value, key);
    case kU64:
      return put_checked<std::uint64_t>(out, value, key);
    case kI64:
      return out.put(value);
    default:
      fail(Errc::invalid_argument, {key}, "type {} does not hold an integer", type);
  }
}

void put_number(Bytes& out, std::uint32_t type, double value) {
  if (type == kF64)
    out.put(value);
  else
    out.put(static_cast<float>(value));
}

/// Writes one value after its key: type, then (for arrays) element type and count, then the elements.
struct ValueWriter {
  Bytes& out;
  const std::string& key;
  std::optional<std::uint32_t> type;

  void operator()(std::int64_t value) const {
    const bool fits = value >= 0 && value <= std::numeric_limits<std::uint32_t>::max();
    const auto id = type.value_or(fits ? kU32 : kI64);
    out.put<std::uint32_t>(id);
    put_integer(out, id, value, key);
  }
  void operator()(std::uint64_t value) const {
    out.put<std::uint32_t>(kU64);
    out.put(value);
  }
  void operator()(double value) const {
    const auto id = type.value_or(kF32);
    out.put<std::uint32_t>(id);
    put_number(out, id, value);
  }
  void operator()(bool value) const {
    out.put<std::uint32_t>(kBool);
    out.put<std::uint8_t>(value);
  }
  void operator()(const std::string& value) const {
    out.put<std::uint32_t>(kString);
    out.put_string(value);
  }
  void operator()(const GgufValue::Integers& values) const {
    const auto id = open_array(type.value_or(kI32), values.size());
    for (const auto value : values) put_integer(out, id, value, key);
  }
  void operator()(const GgufValue::Floats& values) const {
    const auto id = open_array(type.value_or(kF32), values.size());
    for (const auto value : values) put_number(out, id, value);
  }
  void operator()(const std::vector<bool>& values) const {
    open_array(kBool, values.size());
    for (const bool value : values) out.put<std::uint8_t>(value);
  }
  void operator()(const GgufValue::Strings& values) const {
    open_array(kString, values.size());
    for (const auto& value : values) out.put_string(value);
  }

  std::uint32_t open_array(std::uint32_t element, std::size_t count) const {
    out.put<std::uint32_t>(kArray);
    out.put<std::uint32_t>(element);
    out.put<std::uint64_t>(count);
    return element;
  }
};

}  // namespace

void GgufWriter::add(const std::string& key, GgufValue value) {
  const bool repeated = std::any_of(metadata_.begin(), metadata_.end(), [&](const auto& e) { return e.first == key; });
  if (key.empty() || repeated) fail(Errc::invalid_argument, {key}, "the key is {}", key.empty() ? "empty" : "repeated");
  metadata_.emplace_back(key, std::move(value));
}

void GgufWriter::add_metadata_of(const GgufFile& file) {
  for (const auto& [key, value] : file.metadata())
    if (key != "general.alignment" && !key.starts_with("split.")) add(key, value);
}

void GgufWriter::add_tensor(const std::string& name, TensorType type, std::vector<std::int64_t> shape,
                            std::span<const std::byte> data) {
  HEADLIGHT_CHECK(!name.empty() && !shape.empty() && shape.size() <= 4);
  std::uint64_t rows = 1;
  for (std::size_t d = 0; d + 1 < shape.size(); ++d) rows *= static_cast<std::uint64_t>(shape[d]);
  HEADLIGHT_CHECK(data.size() == rows * row_bytes(type, shape.back()));
  tensors_.push_back({name, type, std::move(shape), data});
}

std::vector<std::byte> GgufWriter::header() const {
  Bytes out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.put(c);
  out.put<std::uint32_t>(3);
  out.put<std::uint64_t>(tensors_.size());
  out.put<std::uint64_t>(metadata_.size());
  for (const auto& [key, value] : metadata_) {
    out.put_string(key);
    std::visit(ValueWriter{out, key, value.stored_as}, value.value);
  }
  std::uint64_t offset = 0;
  for (const auto& tensor : tensors_) {
    out.put_string(tensor.name);
    out.put<std::uint32_t>(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto it = tensor.shape.rbegin(); it != tensor.shape.rend(); ++it)
      out.put<std::uint64_t>(static_cast<std::uint64_t>(*it));
    out.put<std::uint32_t>(static_cast<std::uint32_t>(tensor.type));
    out.put<std::uint64_t>(offset);
    offset += padded(tensor.data.size());
  }
  out.pad();
  return out.take();
}

void GgufWriter::emit(const std::function<void(std::span<const std::byte>)>& sink) const {
  constexpr std::array<std::byte, kAlignment> kZeros{};
  sink(header());
  for (const auto& tensor : tensors_) {
    sink(tensor.data);
    sink(std::span(kZeros).first(padded(tensor.data.size()) - tensor.data.size()));
  }
}

void GgufWriter::write(const std::filesystem::path& path, bool overwrite) const {
  OutputFile file(path, overwrite);
  emit([&](std::span<const std::byte> part) { file.write(part); });
  file.commit();
}

std::vector<std::byte> GgufWriter::bytes() const {
  std::vector<std::byte> all;
  emit([&](std::span<const std::byte> part) { all.insert(all.end(), part.begin(), part.end()); });
  return all;
}

}  // namespace headlight::formats
