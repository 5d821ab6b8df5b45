#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/formats/gguf.h"
#include "core/formats/tensor_type.h"

namespace headlight::formats {

/// Writes a GGUF v3 file: keys and tensors in the order in which they were added, data aligned to 32 bytes.
///
/// A value keeps the type it had in the file it was read from (GgufValue::stored_as); without one, integers become u32
/// where they fit, else i64; numbers f32; arrays of integers i32.
class GgufWriter {
 public:
  /// @error invalid_argument for an empty or repeated key, or a value that does not fit its type
  void add(const std::string& key, GgufValue value);

  /// Every key of another file, verbatim, except alignment and split information (which describe that file).
  void add_metadata_of(const GgufFile& file);

  /// @param shape  C order; @param data  row_bytes() for every row; must stay valid until write()
  void add_tensor(const std::string& name, TensorType type, std::vector<std::int64_t> shape,
                  std::span<const std::byte> data);

  /// @error output_exists, io
  void write(const std::filesystem::path& path, bool overwrite) const;

  /// The same bytes in memory, for small files.
  std::vector<std::byte> bytes() const;

 private:
  struct Tensor {
    std::string name;
    TensorType type;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> data;
  };

  std::vector<std::byte> header() const;
  void emit(const std::function<void(std::span<const std::byte>)>& sink) const;

  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace headlight::formats
