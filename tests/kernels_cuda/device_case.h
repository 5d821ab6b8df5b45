#pragma once

#include <vector>

#include "kernels_cuda/cuda_kernels.h"

#include "tests/kernels/attention_case.h"

namespace headlight::cuda::testing {

/// The device that tests run on, or nullptr with the reason.
const CudaKernels* usable_table(std::string& why);

/// Device memory of one stream.
class DeviceMemory {
 public:
  DeviceMemory(Stream stream, const void* host, std::size_t bytes);  ///< a copy of host memory
  DeviceMemory(Stream stream, std::size_t bytes, int fill);
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();

  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  void read(void* host, std::size_t bytes) const;

 private:
  Stream stream_;
  void* memory_;
};

/// A problem whose operands are exactly representable in `dtype`; the float operands of the case are rounded.
struct DeviceCase {
  kernels::testing::AttentionCase host;
  DType dtype = DType::bf16;
  AttentionTier tier = AttentionTier::automatic;

  DeviceCase(kernels::testing::AttentionCase c, DType type);
  /// Fails the running test where the device leaves the limits around float64.
  void check(Stream stream) const;
  kernels::testing::AttentionOutputs run(Stream stream) const;
  /// Output alone.
  std::vector<float> run_plain(Stream stream) const;
  /// Rows of the map, [rows][num_keys].
  std::vector<float> map_rows(Stream stream, const std::vector<MapRow>& rows) const;
};

}  // namespace headlight::cuda::testing
