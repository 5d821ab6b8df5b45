#include "tests/support/refusal.h"

#include <chrono>

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace headlight::testing_support {
namespace {

// Sanitizers keep freed memory for a while: the peak is then theirs.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif

long peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

}  // namespace

std::string expect_refused(const std::function<void()>& run, Errc code,
                           std::initializer_list<std::string_view> mentions) {
  const long before = peak_kib();
  const auto start = std::chrono::steady_clock::now();
  std::string sentence;
  try {
    run();
    ADD_FAILURE() << "was accepted; expected " << to_string(code);
  } catch (const Error& error) {
    sentence = error.what() + (error.context().hint.empty() ? "" : " " + error.context().hint);
    EXPECT_EQ(error.code(), code) << sentence << " (" << to_string(error.code()) << ")";
    for (const auto mention : mentions)
      EXPECT_NE(sentence.find(mention), std::string::npos)
          << "'" << sentence << "' does not mention '" << mention << "'";
  } catch (const std::exception& other) {
    ADD_FAILURE() << "expected an Error, found: " << other.what();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 1.0) << sentence;
  const long grown = kMemoryIsOurs ? peak_kib() - before : 0;
  EXPECT_LT(grown, 72 * 1024) << sentence;  // the largest header of a GGUF file is 64 MiB
  return sentence;
}

}  // namespace headlight::testing_support
