#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/capture/memory_capture.h"
#include "core/engine/engine.h"

namespace headlight::testing_support {

/// What transformers computed for one tiny model; N tokens, shapes as in tests/golden/make_fixtures.py.
struct Golden {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;     ///< [N][V]
  std::vector<float> attn;       ///< [L][H][N][N]
  std::vector<float> resid;      ///< [L+1][N][d]
  std::vector<float> q_rot;      ///< [H][N][D], layer 0
  std::vector<float> k_rot;      ///< [G][N][D], layer 0
  std::vector<float> sink_mass;  ///< [L][H][N], empty without learned sinks
};

Golden load_golden(const std::string& name);

/// The model of a case from safetensors (F32, F16, BF16), or from GGUF.
formats::ModelFile open_golden_model(const std::string& name, TensorType type = TensorType::f32);
formats::ModelFile open_golden_gguf(const std::string& name, TensorType type,
                                    const formats::OpenModelOptions& options = {});

/// The model with the f32 values of one tensor changed.
formats::ModelFile with_values(formats::ModelFile model, const std::string& tensor,
                               const std::function<void(std::span<float>)>& change);
/// The model with one element of an F32 tensor replaced.
formats::ModelFile with_value(formats::ModelFile model, const std::string& tensor, std::int64_t element, float value);

float largest_difference(const float* a, const float* b, std::size_t count);

capture::CaptureHeader header_of(const engine::Engine& engine, capture::CaptureLevel level);
engine::CaptureInput input_of(const std::vector<std::int32_t>& ids, std::int64_t generate = 0);

/// A capture of every head at the level with dense maps.
std::unique_ptr<capture::MemoryCapture> capture_maps(engine::Engine& engine, const std::vector<std::int32_t>& ids);

/// The last `steps` tokens fed one by one after a prefill of the others.
struct DecodedRows {
  std::vector<float> attn;    ///< [L][H][steps][N], 0 = invisible
  std::vector<float> logits;  ///< [steps][V]
};
DecodedRows attention_of_decode(engine::Engine& engine, const std::vector<std::int32_t>& ids, std::int64_t steps);

}  // namespace headlight::testing_support
