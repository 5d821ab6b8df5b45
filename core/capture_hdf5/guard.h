#pragma once

#include <filesystem>
#include <functional>

namespace headlight::capture {

/// Runs `work` in a forked child and returns its result; an Error of the child is thrown here again. The library that
/// reads captures can crash or spin on malicious files, so whoever reads a foreign one does it in a child: a child that
/// dies of SIGSEGV, SIGABRT, SIGBUS, SIGFPE or SIGILL becomes Error{damaged}. Opening and validating a capture inside
/// `work` may take 10 s.
///
/// Interrupts reach the child and its own handling decides; a child killed by SIGINT, SIGTERM or SIGPIPE gives 130, 143
/// or 141. Call it before the process has threads.
/// @error damaged, out_of_memory (the child was killed by SIGKILL), whatever `work` throws
int run_guarded(const std::function<int()>& work);

/// Walks a whole capture in a child: structure, types, every small array, within 10 s.
/// @error as open_capture() with incomplete captures allowed
void probe_capture(const std::filesystem::path& path);

/// In a guarded child: ends it when the scope lasts longer than 10 s. Elsewhere: nothing.
class GuardedTimeLimit {
 public:
  GuardedTimeLimit();
  GuardedTimeLimit(const GuardedTimeLimit&) = delete;
  GuardedTimeLimit& operator=(const GuardedTimeLimit&) = delete;
  ~GuardedTimeLimit();
};

}  // namespace headlight::capture
