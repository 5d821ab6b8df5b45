#pragma once

#include <string_view>

namespace headlight {

/// Messages for a person, on stderr: "warning: ...". Results never go here. Thread-safe.
enum class LogLevel { error, warning, info, debug };

void set_log_level(LogLevel level);
void log_message(LogLevel level, std::string_view text);
inline void log_warning(std::string_view text) {
  log_message(LogLevel::warning, text);
}
inline void log_info(std::string_view text) {
  log_message(LogLevel::info, text);
}
inline void log_debug(std::string_view text) {
  log_message(LogLevel::debug, text);
}

}  // namespace headlight
