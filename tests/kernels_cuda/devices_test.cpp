// What is said where CUDA cannot be used, with a made-up driver.

#include "kernels_cuda/devices.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::cuda {
namespace {

/// A machine as the driver would describe it.
struct Machine {
  int driver = 13000, needs = 13000, status = 0, info_status = 0;
  std::vector<DeviceInfo> devices;
};
Machine machine;

DeviceInfo device(int index, const char* name, int major, int minor) {
  return {.index = index,
          .name = name,
          .major = major,
          .minor = minor,
          .num_multiprocessors = 132,
          .total_bytes = 80,
          .free_bytes = 0};
}

const DriverTable kFake = {
    [](int* version) {
      *version = machine.driver;
      return 0;
    },
    [](int* version) {
      *version = machine.needs;
      return 0;
    },
    [](int* count) {
      *count = static_cast<int>(machine.devices.size());
      return machine.status;
    },
    [](int index, DeviceInfo* info) {
      *info = machine.devices.at(static_cast<std::size_t>(index));
      return machine.info_status;
    },
    [](int status) { return "status " + std::to_string(status); },
};

std::string refusal(int index) {
  try {
    require_device(kFake, index);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_EQ(error.context().field, "--device");
    return error.message();
  }
  return "accepted";
}

TEST(Devices, AreListedAndTaken) {
  machine = {.devices = {device(0, "NVIDIA A100", 8, 0), device(1, "NVIDIA H100", 9, 0)}};
  std::string why;
  EXPECT_EQ(usable_devices(kFake, why).size(), 2u);
  EXPECT_EQ(why, "");
  EXPECT_EQ(require_device(kFake, 1).name, "NVIDIA H100");
  EXPECT_EQ(refusal(2), "there is no CUDA device 2, only devices 0 to 1");
  EXPECT_EQ(refusal(-1), "there is no CUDA device -1, only devices 0 to 1");
}

TEST(Devices, NoDriver) {
  machine = {};
  machine.driver = 0;
  std::string why;
  EXPECT_TRUE(usable_devices(kFake, why).empty());
  EXPECT_EQ(why, "no NVIDIA driver is installed");
  EXPECT_EQ(refusal(0), why);
}

TEST(Devices, OldDriver) {
  machine = {.driver = 12040, .devices = {device(0, "NVIDIA H100", 9, 0)}};
  EXPECT_EQ(refusal(0), "the NVIDIA driver supports CUDA 12.4, this build needs CUDA 13.0");
  machine.driver = 13010;
  machine.needs = 13020;  // within a major version older drivers do
  EXPECT_EQ(refusal(0), "accepted");
}

TEST(Devices, NoneOrBroken) {
  machine = {};
  EXPECT_EQ(refusal(0), "there is no CUDA device");
  machine.status = 999;
  EXPECT_EQ(refusal(0), "no CUDA device can be used: status 999");
}

TEST(Devices, WithoutProperties) {
  machine = {.devices = {device(0, "NVIDIA H100", 9, 0)}};
  machine.info_status = 46;
  std::string why;
  EXPECT_TRUE(usable_devices(kFake, why).empty());
  EXPECT_EQ(why, "CUDA device 0 cannot be used: status 46");
  EXPECT_EQ(refusal(0), why);
}

TEST(Devices, OldDevice) {
  machine = {.devices = {device(0, "Tesla V100", 7, 0)}};
  std::string why;
  EXPECT_TRUE(usable_devices(kFake, why).empty());
  EXPECT_EQ(why, "CUDA device 0 (Tesla V100) has compute capability 7.0, 8.0 is needed");
  EXPECT_EQ(refusal(0), why);
  machine.devices.push_back(device(1, "NVIDIA L40", 8, 9));
  EXPECT_EQ(usable_devices(kFake, why).size(), 1u);
  EXPECT_EQ(refusal(1), "accepted");
}

TEST(Table, IsThereWhenItWasBuilt) {
#ifdef HEADLIGHT_WITH_CUDA
  ASSERT_NE(cuda_kernels(), nullptr);
  std::string why;
  const bool is_empty = cuda_kernels()->devices(why).empty();
  EXPECT_EQ(is_empty, !why.empty());
#else
  EXPECT_EQ(cuda_kernels(), nullptr);
#endif
}

}  // namespace
}  // namespace headlight::cuda
