#include "kernels_cuda/devices.h"

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::cuda {
namespace {

constexpr int kOldestMajor = 8;

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

/// Empty when the driver can be used.
std::string missing(const DriverTable& driver, int& count) {
  int have = 0, need = 0;
  count = 0;
  if (driver.driver_version(&have) != 0 || have == 0) return "no NVIDIA driver is installed";
  // Within a major version an older driver runs newer programs.
  if (driver.runtime_version(&need) == 0 && have / 1000 < need / 1000)
    return fmt::format("the NVIDIA driver supports CUDA {}, this build needs CUDA {}.0", version_text(have),
                       need / 1000);
  if (const int status = driver.device_count(&count); status != 0)
    return fmt::format("no CUDA device can be used: {}", driver.status_text(status));
  return count == 0 ? "there is no CUDA device" : "";
}

std::string too_old(const DeviceInfo& device) {
  return fmt::format("CUDA device {} ({}) has compute capability {}.{}, {}.0 is needed", device.index, device.name,
                     device.major, device.minor, kOldestMajor);
}

std::string cannot_be_used(const DriverTable& driver, int index, int status) {
  return fmt::format("CUDA device {} cannot be used: {}", index, driver.status_text(status));
}

}  // namespace

std::vector<DeviceInfo> usable_devices(const DriverTable& driver, std::string& why) {
  int count = 0;
  why = missing(driver, count);
  std::vector<DeviceInfo> devices;
  std::string reason;  // of the first that cannot be used
  for (int index = 0; why.empty() && index < count; ++index) {
    DeviceInfo device;
    const int status = driver.device_info(index, &device);
    if (status == 0 && device.major >= kOldestMajor)
      devices.push_back(device);
    else if (reason.empty())
      reason = status == 0 ? too_old(device) : cannot_be_used(driver, index, status);
  }
  if (devices.empty() && why.empty()) why = reason;
  return devices;
}

DeviceInfo require_device(const DriverTable& driver, int index) {
  int count = 0;
  const auto refuse = [](const std::string& why) -> void {
    throw Error(Errc::unsupported, why, {.file = {}, .field = "--device", .offset = {}, .hint = "use --device cpu"});
  };
  if (const std::string why = missing(driver, count); !why.empty()) refuse(why);
  if (index < 0 || index >= count)
    refuse(fmt::format("there is no CUDA device {}, only {}", index,
                       count == 1 ? "device 0" : fmt::format("devices 0 to {}", count - 1)));
  DeviceInfo device;
  if (const int status = driver.device_info(index, &device); status != 0) refuse(cannot_be_used(driver, index, status));
  if (device.major < kOldestMajor) refuse(too_old(device));
  return device;
}

}  // namespace headlight::cuda
