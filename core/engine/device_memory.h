#pragma once

#include <cstddef>
#include <utility>
#include <vector>

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

/// Host memory that copies from the device go to, kept for the next sequence: pinning costs milliseconds.
class PinnedPool {
 public:
  struct Block {
    void* memory = nullptr;
    std::size_t bytes = 0;
  };
  PinnedPool() = default;
  PinnedPool(const PinnedPool&) = delete;
  PinnedPool& operator=(const PinnedPool&) = delete;
  ~PinnedPool();

  /// The smallest spare block of at least `bytes`, or a new one. @error out_of_memory
  Block take(std::size_t bytes);
  void give_back(Block block) { spare_.push_back(block); }

 private:
  std::vector<Block> spare_;
};

/// A block of the pool; holds the largest size that was asked for.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(PinnedPool& pool) : pool_(pool) {}
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer() { release(); }

  template <class T>
  T* as() const {
    return static_cast<T*>(block_.memory);
  }
  /// At least `bytes`; the content is lost when it grows. @error out_of_memory
  void ensure(std::size_t bytes);

 private:
  void release();

  PinnedPool& pool_;
  PinnedPool::Block block_;
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
