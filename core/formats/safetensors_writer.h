#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/formats/tensor_type.h"

namespace headlight::formats {

/// Writes one .safetensors file: tensors in the order in which they were added, the header padded to 8 bytes.
class SafetensorsWriter {
 public:
  /// @param type   f32, f16 or bf16
  /// @param shape  C order; @param data  product of the shape times the size of an element; must stay valid until
  ///               write()
  void add(const std::string& name, TensorType type, std::vector<std::int64_t> shape, std::span<const std::byte> data);

  /// @error output_exists, io
  void write(const std::filesystem::path& path, bool overwrite) const;

 private:
  struct Tensor {
    std::string name;
    TensorType type;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> data;
  };
  std::vector<Tensor> tensors_;
};

}  // namespace headlight::formats
