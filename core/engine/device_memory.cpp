#include "core/engine/device_memory.h"

#include "base/error.h"

namespace headlight::engine {

const cuda::CudaKernels& device_table() {
  const cuda::CudaKernels* kernels = cuda::cuda_kernels();
  if (kernels == nullptr)
    throw Error(Errc::unsupported, "this build has no CUDA support",
                {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
  return *kernels;
}

DeviceBuffer::DeviceBuffer(cuda::Stream stream, std::size_t bytes)
    : stream_(stream), memory_(device_table().allocate(stream, bytes)), bytes_(bytes) {}

DeviceBuffer::~DeviceBuffer() {
  if (memory_ != nullptr) device_table().release(stream_, memory_);
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
  std::swap(stream_, other.stream_);
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
}

void DeviceBuffer::ensure(cuda::Stream stream, std::size_t bytes) {
  if (bytes_ >= bytes) return;
  { const DeviceBuffer old = std::move(*this); }  // free before allocating
  *this = DeviceBuffer(stream, bytes);
}

DeviceQueue::DeviceQueue(int device) : stream(device_table().open_stream(device)) {
  try {
    matmul = cuda::dense_kernels()->open_matmul(stream);
  } catch (...) {
    device_table().close_stream(stream);
    throw;
  }
}

DeviceQueue::~DeviceQueue() {
  cuda::dense_kernels()->close_matmul(matmul);
  device_table().close_stream(stream);
}

PinnedPool::~PinnedPool() {
  for (const Block& block : spare_) device_table().release_pinned(block.memory);
}

PinnedPool::Block PinnedPool::take(std::size_t bytes) {
  auto best = spare_.end();
  for (auto it = spare_.begin(); it != spare_.end(); ++it)
    if (it->bytes >= bytes && (best == spare_.end() || it->bytes < best->bytes)) best = it;
  if (best == spare_.end()) return {device_table().allocate_pinned(bytes), bytes};
  const Block block = *best;
  spare_.erase(best);
  return block;
}

void PinnedBuffer::ensure(std::size_t bytes) {
  if (block_.bytes >= bytes) return;
  release();
  block_ = pool_.take(bytes);
}

void PinnedBuffer::release() {
  if (block_.memory != nullptr) pool_.give_back(block_);
  block_ = {};
}

}  // namespace headlight::engine
