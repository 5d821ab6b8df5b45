#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"

namespace headlight::formats {

/// A metadata value of a GGUF file. Integers of every width arrive as i64 or, when they do not fit, u64.
struct GgufValue {
  using Strings = std::vector<std::string>;
  using Integers = std::vector<std::int64_t>;
  using Floats = std::vector<double>;
  std::variant<std::int64_t, std::uint64_t, double, bool, std::string, Integers, Floats, std::vector<bool>, Strings>
      value;
  std::optional<std::uint32_t> stored_as = {};  ///< type id in the file (of an array: of its elements); absent = free
};

struct GgufTensor {
  std::string name;
  std::uint32_t ggml_type = 0;      ///< raw id; known to us or not
  std::vector<std::int64_t> shape;  ///< C order: shape.back() is the contiguous dimension (reverse of `ne`)
  int part = 0;                     ///< which file of a split model
  std::uint64_t offset = 0;         ///< absolute byte offset in that file
  std::uint64_t bytes = 0;
};

/// Header of a GGUF v2/v3 file (little-endian), fully validated: counts, sizes, alignment, overlap, duplicate names.
/// The header is read with pread into memory; tensor data are not touched.
///
/// @see the GGUF file format description
class GgufFile {
 public:
  /// Opens a file, and all siblings when `split.count` > 1.
  /// @error not_found, unreadable, bad_format, bad_version, unsupported (big-endian)
  static GgufFile open(const std::filesystem::path& path);

  /// Parses a header from memory (fuzzing, tests). `file_size` is the size the file would have.
  static GgufFile parse(std::span<const std::byte> bytes, std::uint64_t file_size, const std::string& name);

  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  std::uint32_t version() const { return version_; }

  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }  ///< file order
  const std::vector<GgufTensor>& tensors() const { return tensors_; }                           ///< file order
  const GgufTensor* find_tensor(std::string_view name) const;

  /// Typed access. nullptr / nullopt = absent. A present value of another type is an error that names key and types.
  const GgufValue* find(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key) const;  ///< any integer type
  std::optional<double> number(std::string_view key) const;         ///< f32, f64 or integer; must be finite
  std::optional<bool> boolean(std::string_view key) const;
  const std::string* string(std::string_view key) const;
  const GgufValue::Strings* strings(std::string_view key) const;
  const GgufValue::Integers* integers(std::string_view key) const;
  const GgufValue::Floats* floats(std::string_view key) const;

 private:
  std::vector<std::filesystem::path> paths_;
  std::uint32_t version_ = 0;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace headlight::formats
