#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headlight::testing_support {

/// Little-endian bytes of a number.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// A GGUF string: length and bytes.
inline std::string raw_string(std::string_view text) {
  return raw<std::uint64_t>(text.size()) + std::string(text);
}

/// A key with a value given as bytes.
inline std::string raw_key(std::string_view key, std::uint32_t type, std::string_view value) {
  return raw_string(key) + raw(type) + std::string(value);
}

inline std::string raw_u32_key(std::string_view key, std::uint32_t value) {
  return raw_key(key, 4, raw(value));
}
inline std::string raw_string_key(std::string_view key, std::string_view value) {
  return raw_key(key, 8, raw_string(value));
}

inline std::string raw_tensor(std::string_view name, const std::vector<std::uint64_t>& ne, std::uint32_t type,
                              std::uint64_t offset, std::optional<std::uint32_t> n_dims = {}) {
  std::string bytes = raw_string(name) + raw(n_dims.value_or(static_cast<std::uint32_t>(ne.size())));
  for (const auto length : ne) bytes += raw(length);
  return bytes + raw(type) + raw(offset);
}

/// A GGUF file put together from bytes, right or wrong.
struct RawGguf {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> n_tensors, n_keys;  ///< absent = as many as there are
  std::vector<std::string> keys, tensors;
  std::uint64_t alignment = 32;
  std::string data;

  std::string bytes() const {
    std::string out = magic + raw(version) + raw<std::uint64_t>(n_tensors.value_or(tensors.size())) +
                      raw<std::uint64_t>(n_keys.value_or(keys.size()));
    for (const auto& key : keys) out += key;
    for (const auto& tensor : tensors) out += tensor;
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace headlight::testing_support
