#pragma once

#include <vector>

#include "kernels_cuda/cuda_dense.h"

#include "core/engine/model_weights.h"

namespace headlight::engine {

/// Memory of a stream's device; freed in the order of the stream. Move-only.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// @error out_of_memory
  DeviceBuffer(cuda::Stream stream, std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer();

  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

  /// At least `bytes`; the content is lost when it grows.
  void ensure(cuda::Stream stream, std::size_t bytes);

 private:
  void swap(DeviceBuffer& other) noexcept;

  cuda::Stream stream_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A stream with its products, closed at the end.
class DeviceQueue {
 public:
  /// @error unsupported  built without CUDA, no such device, no cuBLASLt
  explicit DeviceQueue(int device);
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
  ~DeviceQueue();

  cuda::Stream stream;
  cuda::Matmul* matmul = nullptr;
};

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

/// The weights of a model on one device, dequantised to 16 bits when they are loaded.
class CudaModel {
 public:
  /// @error unsupported (no such device; experts; sizes that the kernels do not take), out_of_memory
  CudaModel(const formats::ModelSpec& spec, const ModelWeights& weights, ThreadPool& pool, int device, DType dtype);

  const DeviceQueue& queue() const { return queue_; }
  DType dtype() const { return dtype_; }

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
  ThreadPool& pool_;
  std::vector<DeviceBuffer> memory_;
};

}  // namespace headlight::engine
