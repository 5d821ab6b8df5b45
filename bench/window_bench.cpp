// What the window waits for, without the window: a slider value to its numbers, a capture file to its first picture.
// Usage: headlight_window_bench MODEL            latency of a slider for prompts of 16, 64, 128 and 256 tokens
//        headlight_window_bench CAPTURE.h5       time until heads, tokens and the first map are there; peak memory
#include <algorithm>
#include <chrono>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>

#include "app/workbench/capture_document.h"
#include "app/workbench/live_session.h"
#include "app/workbench/map_tiles.h"
#include "app/workbench/prediction.h"
#include "base/error.h"

namespace headlight::workbench {
namespace {

class Stopwatch {
 public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

constexpr int kValues = 7;

/// Ids that a text could have: every fifth one of the vocabulary from 1000 on.
Prompt prompt_of(std::int64_t tokens, std::int64_t vocab) {
  Prompt prompt;
  for (std::int64_t t = 0; t < tokens; ++t) {
    capture::TokenInfo token;
    token.id = static_cast<std::int32_t>((1000 + 5 * t) % vocab);
    prompt.record.tokens.push_back(token);
  }
  return prompt;
}

/// One value of the slider, as the window's job computes it: pass, statistics of all heads, next tokens, map.
double one_value(LiveSession& live, const Prompt& prompt, const intervention::Stack& stack, ThreadPool& pool) {
  const Stopwatch watch;
  const LiveResult result = live.run(prompt, stack);
  const CaptureDocument base(result.base->capture, "", "run"), changed(result.changed->capture, "", "changed run");
  HEADLIGHT_CHECK(result.is_changed());
  read_tile({.head = {0, 0}, .side = MapSide::difference, .level = top_level(base.num_tokens())}, base, &changed, pool);
  return watch.milliseconds();
}

void measure_slider(const std::string& model) {
  ModelHost host(model);
  LiveSession live(host);
  ThreadPool pool(ThreadPool::available_threads());
  const int half = host.info().num_layers / 2;
  fmt::print("{:>7} {:>16} {:>16} {:>16}\n", "tokens", "first pass [ms]", "all layers [ms]",
             fmt::format("from layer {}", half));
  for (const std::int64_t tokens : {16, 64, 128, 256}) {
    const Prompt prompt = prompt_of(tokens, host.info().vocab_size);
    const Stopwatch watch;
    live.run(prompt, {});
    const double first = watch.milliseconds();
    std::vector<double> all, later;
    for (int n = 0; n < kValues; ++n) {
      intervention::Intervention weight;
      weight.id = weight.method = "zero-tuning";
      weight.params["gamma"] = 0.1 + 0.1 * n;
      all.push_back(one_value(live, prompt, {weight}, pool));
      later.push_back(one_value(live, prompt, {intervention::scale_heads({{half, 0}}, 0.1 * n)}, pool));
    }
    std::sort(all.begin(), all.end());
    std::sort(later.begin(), later.end());
    fmt::print("{:>7} {:>16.0f} {:>16.0f} {:>16.0f}\n", tokens, first, all[kValues / 2], later[kValues / 2]);
  }
}

void measure_opening(const std::string& path) {
  ThreadPool pool(ThreadPool::available_threads());
  const Stopwatch watch;
  const auto document = CaptureDocument::open(path);
  const double opened = watch.milliseconds();
  const int level = top_level(document->num_tokens());
  const HeadId head{document->layers().front(), 0};
  const Stopwatch map_watch;
  const MapTile tile = read_tile({.head = head, .level = level}, *document, nullptr, pool);
  const double mapped = map_watch.milliseconds();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      "{} tokens, {} layers of {} heads: open {:.0f} ms, first map ({}, {} tokens a cell) {:.0f} ms, peak {} MiB\n",
      document->num_tokens(), document->layers().size(), document->num_heads(), opened, capture::to_string(tile.source),
      tile.pool, mapped, usage.ru_maxrss / 1024);
}

}  // namespace
}  // namespace headlight::workbench

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: headlight_window_bench MODEL | CAPTURE.h5\n");
    return 2;
  }
  try {
    const std::string what = argv[1];
    if (what.ends_with(".h5"))
      headlight::workbench::measure_opening(what);
    else
      headlight::workbench::measure_slider(what);
  } catch (const headlight::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
