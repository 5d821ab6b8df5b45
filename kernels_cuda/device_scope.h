#pragma once

#include <cuda_runtime_api.h>

#include "kernels_cuda/cuda_kernels.h"

// Private: what every host function of the CUDA build needs.
namespace headlight::cuda {

/// Throws Error{failed} unless the call succeeded.
void check(cudaError_t status, const char* what);

inline cudaStream_t handle_of(Stream stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

/// The calling thread works with this device until the object dies.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

}  // namespace headlight::cuda
