#pragma once

#include <functional>

#include "core/formats/gguf.h"
#include "core/formats/model_spec.h"
#include "core/formats/safetensors.h"
#include "core/formats/weight_loader.h"

namespace headlight::formats {

/// First byte of a tensor in the mapped file of its part.
using DataOf = std::function<const std::byte*(int part, std::uint64_t offset)>;

/// Tensors of a GGUF file by role.
StoredTensors stored_from_gguf(const ModelSpec& spec, const GgufFile& file, const DataOf& data);

/// Tensors of a Hugging Face folder by role. Tensors that carry no weights (position ids, rotary frequencies, causal
/// masks) are left out.
/// @error bad_format (no embedding under any known prefix), unsupported (a weight of a dtype that is not F32, F16,
/// BF16)
StoredTensors stored_from_safetensors(const ModelSpec& spec, const SafetensorsFile& file, const DataOf& data);

}  // namespace headlight::formats
