#pragma once

#include <string_view>
#include <vector>

namespace headlight::kernels {

/// Instruction sets the CPU kernels are compiled for. One translation unit per tier; chosen once at start.
enum class CpuTier {
  scalar,      ///< baseline x86-64 (or any other CPU), the order of the reference
  avx2,        ///< AVX2 + FMA + F16C
  avx512,      ///< AVX-512 F, BW, DQ, VL
  avx512vnni,  ///< + VNNI
};

std::string_view to_string(CpuTier tier);

/// Best tier of this CPU and operating system.
CpuTier detected_cpu_tier();

/// Tier in use: the detected one, or what $HEADLIGHT_CPU_TIER / set_cpu_tier() asked for.
/// @error unsupported  when the environment names a tier this CPU lacks; invalid_argument when it is no tier
CpuTier active_cpu_tier();

/// For tests: forces a tier for the process. @error unsupported when this CPU lacks it
void set_cpu_tier(CpuTier tier);

/// Every tier this CPU can run, lowest first.
std::vector<CpuTier> available_cpu_tiers();

}  // namespace headlight::kernels
