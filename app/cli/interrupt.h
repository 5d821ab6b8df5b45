#pragma once

#include <stop_token>

namespace headlight::cli {

/// From now on a thread of its own waits for SIGINT and SIGTERM: the first asks the run to stop at its next safe point,
/// the second ends the process at once (unfinished outputs stay as `.part`). SIGPIPE ends quietly with 141. Call once,
/// before other threads.
std::stop_token install_interrupt_handlers();

/// 130 after SIGINT, 143 after SIGTERM, 0 when none came.
int interrupt_exit_code();

}  // namespace headlight::cli
