#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "core/formats/gguf.h"
#include "core/formats/model_spec.h"

namespace headlight::formats {

/// Values of a small F32 tensor of a GGUF file (RoPE factors).
using ReadFloats = std::function<std::vector<float>(const GgufTensor&)>;

/// Metadata and tensor shapes of a GGUF file as a ModelSpec; not yet validated.
///
/// @error bad_format (the key and its value), unsupported (architecture or option by name)
ModelSpec spec_from_gguf(const GgufFile& file, const ReadFloats& read_floats);

/// A Hugging Face config.json as a ModelSpec, in the spelling of transformers 5 (`rope_parameters`, `layer_types`) or
/// the one before it (`rope_theta`, `rope_scaling`, `sliding_window_pattern`); not yet validated.
///
/// @error bad_format (the key and its value), unsupported (model_type or option by name)
ModelSpec spec_from_config(const Json& config);

/// What makes an architecture apart from its numbers: norms, blocks, activation. Sets those members of a spec.
/// @return false when the architecture is not supported
bool set_architecture(ModelSpec& spec, const std::string& architecture);

/// "llama, mistral, ..." for messages.
std::string supported_architectures();

/// Layer l slides iff l mod period < period - 1 (the last of each period sees everything).
std::vector<std::uint8_t> periodic_sliding(int num_layers, std::int64_t period);

inline constexpr std::int64_t kIntMax = 0x7fffffff;  ///< upper bound of every size that is an int

/// `value` as int. @error bad_format naming `key` when outside [low, high]
int checked_int(std::int64_t value, std::int64_t low, std::int64_t high, const std::string& key);

}  // namespace headlight::formats
