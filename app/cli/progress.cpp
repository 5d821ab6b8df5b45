#include "app/cli/progress.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace headlight::cli {
namespace {

constexpr std::chrono::seconds kSilence{2};  // a log has no use for lines about what is done at once

std::string human_rate(double tokens_per_second) {
  return tokens_per_second >= 1000 ? fmt::format("{:.1f}k tok/s", tokens_per_second / 1000)
                                   : fmt::format("{:.0f} tok/s", tokens_per_second);
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressBar::ProgressBar(const Invocation& invocation) {
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  if (invocation.quiet || invocation.progress == "none") return;
  if (invocation.progress == "json")
    style_ = Style::json;
  else if (invocation.progress == "bar" || (invocation.progress == "auto" && terminal))
    style_ = Style::bar;
  else
    style_ = Style::lines;
}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

std::string ProgressBar::rate_and_eta(double share, std::int64_t tokens_done) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const auto tokens = static_cast<double>(tokens_done - first_tokens_);
  std::string text;
  if (tokens > 0 && elapsed > 0.2) text += "  " + human_rate(tokens / elapsed);
  if (share - first_share_ > 0.02 && elapsed > 0.5)
    text += "  ETA " + clock_text(elapsed * (1 - share) / (share - first_share_));
  return text;
}

void ProgressBar::update(std::string_view phase, std::int64_t done, std::int64_t total, std::int64_t tokens_done) {
  if (style_ == Style::none || total <= 0) return;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const auto percent = static_cast<int>(share * 100);
  const auto now = Clock::now();
  if (phase != phase_) {  // rate and remaining time count from here
    phase_ = phase;
    start_ = now;
    first_share_ = share;
    first_tokens_ = tokens_done;
    last_tenth_ = -1;
    last_draw_ = {};
  }
  if (style_ == Style::bar) {
    if (done < total && now - last_draw_ < std::chrono::milliseconds(100)) return;
    last_draw_ = now;
    const auto filled = static_cast<std::size_t>(share * 20);
    std::fputs(fmt::format("\r[{}{}] {:3}%  {} {}/{}{}\033[K", std::string(filled, '#'), std::string(20 - filled, '.'),
                           percent, phase, done, total, rate_and_eta(share, tokens_done))
                   .c_str(),
               stderr);
    drawn_ = true;
    return;
  }
  if (percent / 10 == last_tenth_) return;
  if (style_ == Style::lines && now - start_ < kSilence) return;
  last_tenth_ = percent / 10;
  if (style_ == Style::json)
    std::fputs(
        fmt::format("{{\"phase\":\"{}\",\"done\":{},\"total\":{},\"tokens\":{}}}\n", phase, done, total, tokens_done)
            .c_str(),
        stderr);
  else
    std::fputs(fmt::format("{} {}/{} ({}%){}\n", phase, done, total, percent, rate_and_eta(share, tokens_done)).c_str(),
               stderr);
}

}  // namespace headlight::cli
