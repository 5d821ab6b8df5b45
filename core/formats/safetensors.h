#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/tensor_type.h"

namespace headlight::formats {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;                ///< "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;  ///< C order; empty = a scalar
  int part = 0;                     ///< which file of a sharded model
  std::uint64_t offset = 0;         ///< absolute byte offset in that file
  std::uint64_t bytes = 0;

  /// The type to compute with; nullopt for integers, bools and F64.
  std::optional<TensorType> type() const;
};

/// Header of a .safetensors file, or of all shards of a folder, fully validated: the tensors tile the data exactly.
/// Tensor data are not touched.
///
/// @see the safetensors format description
class SafetensorsFile {
 public:
  /// One file. @error not_found, unreadable, bad_format, unsupported (dtype by name)
  static SafetensorsFile open(const std::filesystem::path& path);

  /// `model.safetensors` of a folder, else the shards named by `model.safetensors.index.json`.
  /// @error as open(); not_found also when a shard is missing
  static SafetensorsFile open_folder(const std::filesystem::path& folder);

  /// Parses the beginning of a file from memory (fuzzing, tests). `file_size` is the size the file would have.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::uint64_t file_size, const std::string& name);

  const std::vector<std::filesystem::path>& paths() const { return paths_; }
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  ///< in order of offset, shard by shard
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const SafetensorsTensor* find(std::string_view name) const;

 private:
  static SafetensorsFile open_sharded(const std::filesystem::path& index);

  std::vector<std::filesystem::path> paths_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace headlight::formats
