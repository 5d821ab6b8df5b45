#include "kernels/cpu_tier.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/error.h"

namespace headlight::kernels {
namespace {

constexpr std::array kTiers{CpuTier::scalar, CpuTier::avx2, CpuTier::avx512, CpuTier::avx512vnni};
constexpr int kNotChosen = -1;

std::atomic<int> chosen{kNotChosen};

#if defined(__x86_64__)
/// CPUID itself: not every compiler knows the name of this feature.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

void check_available(CpuTier tier) {
  if (tier > detected_cpu_tier())
    throw Error(Errc::unsupported, "this CPU cannot run the tier " + std::string(to_string(tier)) + ", its best is " +
                                       std::string(to_string(detected_cpu_tier())));
}

CpuTier tier_at_start() {
  const char* name = std::getenv("HEADLIGHT_CPU_TIER");
  if (!name || !*name) return detected_cpu_tier();
  for (const CpuTier tier : kTiers) {
    if (name != to_string(tier)) continue;
    check_available(tier);
    return tier;
  }
  throw Error(Errc::invalid_argument, "expected scalar, avx2, avx512 or avx512vnni, found '" + std::string(name) + "'",
              {.file = {}, .field = "HEADLIGHT_CPU_TIER", .offset = {}, .hint = {}});
}

}  // namespace

std::string_view to_string(CpuTier tier) {
  switch (tier) {
    case CpuTier::scalar:
      return "scalar";
    case CpuTier::avx2:
      return "avx2";
    case CpuTier::avx512:
      return "avx512";
    case CpuTier::avx512vnni:
      return "avx512vnni";
  }
  return "unknown";
}

CpuTier detected_cpu_tier() {
#if defined(__x86_64__)
  // The compiler's run-time library looks at CPUID and at what the operating system saves (XGETBV).
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return CpuTier::scalar;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return CpuTier::avx2;
  return __builtin_cpu_supports("avx512vnni") ? CpuTier::avx512vnni : CpuTier::avx512;
#else
  return CpuTier::scalar;
#endif
}

CpuTier active_cpu_tier() {
  const int tier = chosen.load(std::memory_order_relaxed);
  if (tier != kNotChosen) return static_cast<CpuTier>(tier);
  const CpuTier first = tier_at_start();
  chosen.store(static_cast<int>(first), std::memory_order_relaxed);
  return first;
}

void set_cpu_tier(CpuTier tier) {
  check_available(tier);
  chosen.store(static_cast<int>(tier), std::memory_order_relaxed);
}

std::vector<CpuTier> available_cpu_tiers() {
  std::vector<CpuTier> tiers;
  for (const CpuTier tier : kTiers)
    if (tier <= detected_cpu_tier()) tiers.push_back(tier);
  return tiers;
}

}  // namespace headlight::kernels
