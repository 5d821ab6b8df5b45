#pragma once

#include <string>
#include <vector>

#include "core/engine/device_memory.h"
#include "core/engine/model_weights.h"

namespace headlight::engine {

struct DeviceNorm {
  const float* weight = nullptr;  ///< null = absent
  const float* bias = nullptr;
};

/// A matrix in 16 bits; its bias in f32 or null.
struct DeviceLinear {
  const void* w = nullptr;
  std::int64_t rows = 0, cols = 0;
  const float* bias = nullptr;
};

struct DeviceLayer {
  DeviceNorm attn_norm, post_attention_norm, ffn_norm, post_ffw_norm;
  DeviceLinear qkv;  ///< query, key and value heads below each other
  DeviceLinear output;
  const float *q_norm = nullptr, *k_norm = nullptr, *sinks_h = nullptr;
  DeviceLinear gate_up;  ///< gate above up; up alone where there is no gate
  DeviceLinear down;
};

/// Gram matrices of a layer's output projection, see cuda::GramCall.
struct DeviceGram {
  DeviceBuffer parts, scale_h;
};

/// The weights of a model on one device, dequantised to 16 bits when they are loaded.
class CudaModel {
 public:
  /// @error unsupported (no such device; experts; sizes that the kernels do not take), out_of_memory
  CudaModel(const formats::ModelSpec& spec, const ModelWeights& weights, ThreadPool& pool, int device, DType dtype);

  const DeviceQueue& queue() const { return queue_; }
  PinnedPool& pinned() const { return pinned_; }
  DType dtype() const { return dtype_; }
  const std::string& device_name() const { return device_name_; }
  /// Made when it is first asked for, and kept.
  const DeviceGram& gram(int layer) const;

  DeviceLinear token_embedding, output;
  const void* position_embedding = nullptr;
  DeviceNorm output_norm;
  std::vector<DeviceLayer> layers;

 private:
  void load_layer(const formats::ModelSpec& spec, const LayerWeights& from);
  DeviceLinear load(std::initializer_list<const Linear*> parts);
  DeviceNorm load(const Norm& norm, std::int64_t size);
  const float* load_vector(const float* values, std::int64_t size);
  void* place(std::size_t bytes);
  void load_rows(const kernels::MatrixView& matrix, std::uint16_t* to);

  DeviceQueue queue_;
  DType dtype_;
  std::string device_name_;
  int num_heads_, head_dim_;
  ThreadPool& pool_;
  std::vector<DeviceBuffer> memory_;
  mutable PinnedPool pinned_;
  mutable std::vector<DeviceGram> grams_;  // [L]
};

}  // namespace headlight::engine
