#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/formats/model_spec.h"
#include "core/formats/weights.h"

namespace headlight::formats {

/// A tensor as it lies in a file, under the name that GGUF gives to its role.
struct StoredTensor {
  std::string source_name;  ///< name in the file, for messages
  TensorType type = TensorType::f32;
  std::vector<std::int64_t> shape;  ///< C order
  const std::byte* data = nullptr;
  bool transposed = false;  ///< a matrix stored [in][out]
};

/// The tensors of a model file before they are brought to the conventions of `Weights`.
struct StoredTensors {
  std::map<std::string, StoredTensor, std::less<>> by_role;  ///< "blk.0.attn_q.weight" -> tensor
  bool rotary_pairs_adjacent = false;  ///< q and k rows are permuted for adjacent-pair RoPE (llama GGUF)
  bool norms_lack_one = false;         ///< norm weights are to be used as 1 + stored (gemma safetensors)
  std::function<std::string(const std::string& role)> source_name;  ///< how the file would call a role
};

struct LoadOptions {
  bool allow_nonfinite = false;
};

/// Brings the tensors of a file to the names and conventions of `Weights`: fused tensors split, rotary rows
/// un-permuted, transposed matrices turned, vectors as finite f32. Whatever already fits is used in place.
/// Tensors without a role in this architecture are reported by one warning.
///
/// @param weights  owns the storage behind `stored` already (Weights::keep_alive)
/// @error bad_format (missing tensor, wrong shape, NaN or Inf in a vector)
void load_weights(const ModelSpec& spec, const StoredTensors& stored, const LoadOptions& options, Weights& weights);

}  // namespace headlight::formats
