#include "app/cli/interrupt.h"

#include <csignal>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

namespace headlight::cli {
namespace {

volatile std::sig_atomic_t received = 0;
int wake_pipe[2] = {-1, -1};

void on_stop_signal(int signal) {
  if (received != 0) ::_exit(128 + signal);
  received = signal;
  const char byte = 1;
  [[maybe_unused]] const auto written = ::write(wake_pipe[1], &byte, 1);
}

void on_sigpipe(int) {
  ::_exit(141);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

std::stop_token install_interrupt_handlers() {
  static std::stop_source source;
  if (::pipe2(wake_pipe, O_CLOEXEC) != 0) return source.get_token();
  // request_stop() may not be called from a handler: a thread waits for the byte that the handler writes.
  std::thread([] {
    char byte = 0;
    if (::read(wake_pipe[0], &byte, 1) == 1) source.request_stop();
  }).detach();
  handle(SIGINT, on_stop_signal);
  handle(SIGTERM, on_stop_signal);
  handle(SIGPIPE, on_sigpipe);
  std::signal(SIGXFSZ, SIG_IGN);
  return source.get_token();
}

int interrupt_exit_code() {
  return received == 0 ? 0 : 128 + received;
}

}  // namespace headlight::cli
