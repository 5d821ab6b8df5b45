#pragma once

#include <string>
#include <vector>

#include "kernels_cuda/cuda_kernels.h"

namespace headlight::cuda {

/// The questions that are asked of the driver before anything runs, so that the answers can be tested without a device.
/// Functions return a CUDA status, 0 = success.
struct DriverTable {
  int (*driver_version)(int* version);   ///< 1000 major + 10 minor; 0 = no driver
  int (*runtime_version)(int* version);  ///< what this build needs
  int (*device_count)(int* count);
  int (*device_info)(int device, DeviceInfo* info);
  std::string (*status_text)(int status);
};

/// Devices that the kernels run on. Empty: `why` says in one sentence what is missing.
std::vector<DeviceInfo> usable_devices(const DriverTable& driver, std::string& why);

/// @error unsupported  no driver, too old a driver, no such device, too old a device
DeviceInfo require_device(const DriverTable& driver, int device);

}  // namespace headlight::cuda
