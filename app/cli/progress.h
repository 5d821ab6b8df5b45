#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "app/cli/invocation.h"

namespace headlight::cli {

/// Progress of one run on stderr: a bar on a terminal (at most 10 redraws a second, removed when done), a line per 10 %
/// of what takes longer than two seconds elsewhere, or one JSON object per line with --progress=json.
///
///     [########..........] 42%  prefill 13/30  1.2k tok/s  ETA 00:41
class ProgressBar {
 public:
  explicit ProgressBar(const Invocation& invocation);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::string_view phase, std::int64_t done, std::int64_t total, std::int64_t tokens_done = 0);
  void clear();  ///< removes a drawn bar, e.g. before a message

 private:
  enum class Style { none, bar, lines, json };
  using Clock = std::chrono::steady_clock;
  std::string rate_and_eta(double share, std::int64_t tokens_done) const;

  Style style_ = Style::none;
  Clock::time_point start_ = Clock::now(), last_draw_{};
  double first_share_ = 0;
  std::int64_t first_tokens_ = 0;
  std::string phase_;
  int last_tenth_ = -1;
  bool drawn_ = false;
};

}  // namespace headlight::cli
