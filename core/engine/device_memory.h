#pragma once

#include <cstddef>
#include <utility>

#include "kernels_cuda/cuda_dense.h"
#include "kernels_cuda/cuda_facts.h"

namespace headlight::engine {

/// The entry points of a device. @error unsupported  built without CUDA
const cuda::CudaKernels& device_table();

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

/// Host memory for copies from the device; holds the largest size that was asked for. Move-only.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedBuffer();

  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  /// At least `bytes`; the content is lost when it grows. @error out_of_memory
  void ensure(std::size_t bytes);

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A point in a stream's work.
class DeviceEvent {
 public:
  explicit DeviceEvent(int device) : event_(device_table().open_event(device)) {}
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;
  ~DeviceEvent() { device_table().close_event(event_); }

  void record(cuda::Stream stream) const { device_table().record(stream, event_); }
  void hold(cuda::Stream stream) const { device_table().wait_for(stream, event_); }  ///< until it happened
  void await() const { device_table().await(event_); }

 private:
  void* event_;
};

}  // namespace headlight::engine
