#include "app/cli/build_info.h"

#include <fstream>

#include <fmt/format.h>

namespace headlight::cli {

std::string build_commit() {
  return HEADLIGHT_COMMIT;
}
std::string build_type() {
  return HEADLIGHT_BUILD_TYPE;
}

std::string build_compiler() {
#if defined(__clang__)
  return fmt::format("Clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("GCC {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace headlight::cli
