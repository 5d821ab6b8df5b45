#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace headlight {

/// Why an operation could not be done. Each value maps to one process exit code (see exit_code()).
enum class Errc {
  failed,            ///< failed at run time                                      exit 1
  internal,          ///< a bug in Headlight                                      exit 1
  busy,              ///< somebody else holds the file or device                  exit 1
  invalid_argument,  ///< an option or parameter outside its range                exit 2
  output_exists,     ///< would overwrite without --force                         exit 2
  prompt_too_long,   ///< more tokens than the model's context                    exit 2
  not_found,         ///< input does not exist                                    exit 3
  unreadable,        ///< input exists but cannot be read                         exit 3
  changed,           ///< input changed while it was being read                   exit 3
  bad_format,        ///< input breaks the rules of its format                    exit 4
  bad_version,       ///< a version of the format that is not known               exit 4
  damaged,           ///< a capture that is damaged or unfinished                 exit 4
  unsupported,       ///< well-formed, but not supported by this build or device  exit 5
  out_of_memory,     ///< memory                                                  exit 6
  io,                ///< disk full, quota, failing write                         exit 6
  check_failed,      ///< a verification found a difference                       exit 7
  partial,           ///< some records of several failed                          exit 8
  cancelled,         ///< stopped on request: a state, never shown as a failure   exit 130
};

/// Stable snake_case name, e.g. "bad_format" (the `code` of `--json` errors).
std::string_view to_string(Errc code);

/// Exit code of a process that ends with this error (contract of the command line).
int exit_code(Errc code);

/// Where an error happened and what would help. Empty members are not shown.
struct ErrorContext {
  std::string file;                     ///< path of the input or output
  std::string field;                    ///< tensor, key, JSON path or option
  std::optional<std::uint64_t> offset;  ///< byte offset inside `file`
  std::string hint;                     ///< one sentence: what to do about it
};

/// The only exception that crosses a component border. `what()` is one sentence:
/// "model.gguf: tensor 'blk.0.attn_q.weight' at byte 1234: expected shape [64, 64], found [64, 32]".
class Error : public std::exception {
 public:
  explicit Error(Errc code, std::string message, ErrorContext context = {});

  const char* what() const noexcept override { return text_.c_str(); }
  Errc code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }  ///< the sentence without file, field, offset
  const ErrorContext& context() const noexcept { return context_; }

  /// The same error with the file named, if none is named yet.
  Error in_file(const std::string& file) const;

 private:
  Errc code_;
  std::string message_;
  ErrorContext context_;
  std::string text_;
};

/// A broken promise between two pieces of our own code. Never thrown because of input.
class ContractViolation : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void contract_violated(const char* condition, const char* file, int line);

}  // namespace headlight

/// Always on: states what must hold if our own code is right.
#define HEADLIGHT_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::headlight::contract_violated(#condition, __FILE__, __LINE__))
