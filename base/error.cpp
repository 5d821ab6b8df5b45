#include "base/error.h"

namespace headlight {
namespace {

std::string compose(const std::string& message, const ErrorContext& context) {
  std::string text;
  if (!context.file.empty()) text += context.file + ": ";
  if (!context.field.empty()) text += context.field;
  if (context.offset) text += (context.field.empty() ? "byte " : " at byte ") + std::to_string(*context.offset);
  if (!context.field.empty() || context.offset) text += ": ";
  return text + message;
}

}  // namespace

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::failed:
      return "failed";
    case Errc::internal:
      return "internal";
    case Errc::busy:
      return "busy";
    case Errc::invalid_argument:
      return "invalid_argument";
    case Errc::output_exists:
      return "output_exists";
    case Errc::prompt_too_long:
      return "prompt_too_long";
    case Errc::not_found:
      return "not_found";
    case Errc::unreadable:
      return "unreadable";
    case Errc::changed:
      return "changed";
    case Errc::bad_format:
      return "bad_format";
    case Errc::bad_version:
      return "bad_version";
    case Errc::damaged:
      return "damaged";
    case Errc::unsupported:
      return "unsupported";
    case Errc::out_of_memory:
      return "out_of_memory";
    case Errc::io:
      return "io";
    case Errc::check_failed:
      return "check_failed";
    case Errc::partial:
      return "partial";
    case Errc::cancelled:
      return "cancelled";
  }
  return "internal";
}

int exit_code(Errc code) {
  switch (code) {
    case Errc::failed:
    case Errc::internal:
    case Errc::busy:
      return 1;
    case Errc::invalid_argument:
    case Errc::output_exists:
    case Errc::prompt_too_long:
      return 2;
    case Errc::not_found:
    case Errc::unreadable:
    case Errc::changed:
      return 3;
    case Errc::bad_format:
    case Errc::bad_version:
    case Errc::damaged:
      return 4;
    case Errc::unsupported:
      return 5;
    case Errc::out_of_memory:
    case Errc::io:
      return 6;
    case Errc::check_failed:
      return 7;
    case Errc::partial:
      return 8;
    case Errc::cancelled:
      return 130;
  }
  return 1;
}

Error::Error(Errc code, std::string message, ErrorContext context)
    : code_(code), message_(std::move(message)), context_(std::move(context)), text_(compose(message_, context_)) {}

Error Error::in_file(const std::string& file) const {
  if (!context_.file.empty()) return *this;
  ErrorContext context = context_;
  context.file = file;
  return Error(code_, message_, std::move(context));
}

void contract_violated(const char* condition, const char* file, int line) {
  throw ContractViolation(std::string("contract violated: ") + condition + " (" + file + ":" + std::to_string(line) +
                          ")");
}

}  // namespace headlight
