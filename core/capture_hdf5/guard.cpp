#include "core/capture_hdf5/guard.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "core/capture_hdf5/capture_file.h"

namespace headlight::capture {
namespace {

constexpr unsigned kOpenSeconds = 10;

bool in_guarded_child = false;
int time_limits = 0;  // nested ones: the outermost counts
volatile sig_atomic_t child_of_forwarding = 0;

// A signal from the terminal reaches the child by itself; one that was sent to this process alone is passed on.
void forward_signal(int signal, siginfo_t* info, void*) {
  if (info->si_code <= 0 && child_of_forwarding > 0) ::kill(child_of_forwarding, signal);
}

/// While the parent waits, it must outlive the child's own handling of an interrupt.
class SignalForwarding {
 public:
  explicit SignalForwarding(pid_t child) {
    child_of_forwarding = child;
    struct sigaction action {};
    action.sa_sigaction = forward_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    for (std::size_t i = 0; i < 2; ++i) ::sigaction(kSignals[i], &action, &previous_[i]);
  }
  SignalForwarding(const SignalForwarding&) = delete;
  SignalForwarding& operator=(const SignalForwarding&) = delete;
  ~SignalForwarding() {
    for (std::size_t i = 0; i < 2; ++i) ::sigaction(kSignals[i], &previous_[i], nullptr);
    child_of_forwarding = 0;
  }

 private:
  static constexpr int kSignals[2] = {SIGINT, SIGTERM};
  struct sigaction previous_[2]{};
};

std::string pack_error(const Error& error) {
  Json json;
  json["code"] = static_cast<int>(error.code());
  json["message"] = error.message();
  json["file"] = error.context().file;
  json["field"] = error.context().field;
  json["hint"] = error.context().hint;
  if (error.context().offset) json["offset"] = *error.context().offset;
  return dump_json(json);
}

[[noreturn]] void throw_packed_error(const std::string& text) {
  const Json json = parse_json(text);
  ErrorContext context{json_string(json, "file"), json_string(json, "field"), std::nullopt, json_string(json, "hint")};
  if (json.contains("offset")) context.offset = json.at("offset").get<std::uint64_t>();
  throw Error(static_cast<Errc>(json_integer(json, "code")), json_string(json, "message"), std::move(context));
}

[[noreturn]] void run_child(const std::function<int()>& work, int report) {
  in_guarded_child = true;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int code = 1;
  std::string failure;
  try {
    code = work();
  } catch (const Error& error) {
    failure = pack_error(error);
  } catch (const std::bad_alloc&) {
    failure = pack_error(Error(Errc::out_of_memory, "not enough memory"));
  } catch (const std::exception& error) {
    failure = pack_error(Error(Errc::internal, error.what()));
  }
  std::fflush(nullptr);
  if (!failure.empty()) {
    [[maybe_unused]] const ssize_t written = ::write(report, failure.data(), failure.size());
    code = 1;
  }
  ::_exit(code);
}

std::string read_all(int fd) {
  std::string text;
  char chunk[4096];
  while (true) {
    const ssize_t n = ::read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(chunk, static_cast<std::size_t>(n));
  }
}

int result_of_signal(int signal) {
  switch (signal) {
    case SIGINT:
    case SIGTERM:
    case SIGPIPE:
      return 128 + signal;
    case SIGALRM:
      throw Error(Errc::damaged, fmt::format("the capture is damaged: opening it took more than {} s", kOpenSeconds));
    case SIGKILL:
      throw Error(Errc::out_of_memory, "the process that reads the capture was killed, probably for lack of memory");
    default:
      throw Error(Errc::damaged, fmt::format("the capture is damaged: reading it ended with signal {} ({})", signal,
                                             ::strsignal(signal)));
  }
}

}  // namespace

int run_guarded(const std::function<int()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) throw Error(Errc::failed, fmt::format("no pipe to a child: {}", std::strerror(errno)));
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw Error(Errc::failed, fmt::format("no child process: {}", std::strerror(error)));
  }
  if (child == 0) {
    ::close(ends[0]);
    run_child(work, ends[1]);
  }
  const SignalForwarding forwarding(child);
  ::close(ends[1]);
  const std::string failure = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return result_of_signal(WTERMSIG(status));
  if (!failure.empty()) throw_packed_error(failure);
  return WEXITSTATUS(status);
}

void probe_capture(const std::filesystem::path& path) {
  run_guarded([&] {
    const GuardedTimeLimit limit;
    const auto view = open_capture(path, {.allow_incomplete = true, .check_manifest = false});
    const std::int64_t records = view->num_records();
    for (std::int64_t r = 0; r < std::min<std::int64_t>(records, 16); ++r) {
      static_cast<void>(view->record(r));
      for (const std::string& id : view->available_statistics(r))
        if (!id.starts_with("jmax") && !id.starts_with("group_mass")) static_cast<void>(view->head_statistic(r, id));
    }
    return 0;
  });
}

GuardedTimeLimit::GuardedTimeLimit() {
  if (in_guarded_child && time_limits++ == 0) ::alarm(kOpenSeconds);
}

GuardedTimeLimit::~GuardedTimeLimit() {
  if (in_guarded_child && --time_limits == 0) ::alarm(0);
}

}  // namespace headlight::capture
