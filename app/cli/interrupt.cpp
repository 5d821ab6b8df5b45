#include "app/cli/interrupt.h"

#include <atomic>
#include <csignal>
#include <thread>

#include <unistd.h>

namespace headlight::cli {
namespace {

std::atomic<int> received = 0;

void on_sigpipe(int) {
  ::_exit(141);
}

/// First signal: stop; second: end at once.
[[noreturn]] void wait_for_signals(const sigset_t& signals, std::stop_source& source) {
  while (true) {
    int signal = 0;
    if (::sigwait(&signals, &signal) != 0) continue;
    if (received.exchange(signal) != 0) ::_exit(128 + signal);
    source.request_stop();
  }
}

}  // namespace

std::stop_token install_interrupt_handlers() {
  static std::stop_source source;
  // No handler runs on a thread that computes: oneDNN's kernels keep data below the stack pointer, beyond what the ABI
  // protects from a handler's frame.
  static sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([] { wait_for_signals(signals, source); }).detach();
  std::signal(SIGPIPE, on_sigpipe);
  std::signal(SIGXFSZ, SIG_IGN);
  return source.get_token();
}

int interrupt_exit_code() {
  const int signal = received;
  return signal == 0 ? 0 : 128 + signal;
}

}  // namespace headlight::cli
