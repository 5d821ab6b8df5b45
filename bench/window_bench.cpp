// What the window waits for, without the window: a slider value to its numbers, a capture file to its first picture.
// Usage: headlight_window_bench MODEL            latency of a slider for prompts of 16, 64, 128 and 256 tokens
//        headlight_window_bench CAPTURE.h5       time until heads, tokens and the first map are there; peak memory
//        headlight_window_bench CAPTURE.h5 N     first makes that file: shape of Llama-3-8B, N tokens, 790 kB a token
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>

#include "app/workbench/capture_document.h"
#include "app/workbench/live_session.h"
#include "app/workbench/map_tiles.h"
#include "app/workbench/prediction.h"
#include "base/error.h"
#include "core/capture/capture_plan.h"
#include "core/capture_hdf5/capture_file.h"

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

/// The best of several values of a slider counts. One value, as the window's job computes it: pass, statistics of all
/// heads, next tokens, map.
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
    const auto best = [](const std::vector<double>& times) { return *std::min_element(times.begin(), times.end()); };
    fmt::print("{:>7} {:>16.0f} {:>16.0f} {:>16.0f}\n", tokens, first, best(all), best(later));
  }
}

/// What the statistics of even attention are: row i gives 1 / (i + 1) to each of its keys.
struct EvenRows {
  explicit EvenRows(const capture::CapturePlan& plan, std::int64_t tokens, int heads)
      : n(tokens),
        lse(static_cast<std::size_t>(heads * tokens)),
        weight(lse),
        sink(lse),
        local(lse),
        distance(lse),
        distance2(lse),
        zero(lse),
        received(lse),
        first_key(lse.size(), 0) {
    double later = 0.0;
    for (std::int64_t i = tokens - 1; i >= 0; --i) {
      const auto keys = static_cast<double>(i + 1), back = keys - 1.0;
      later += 1.0 / keys;
      for (int h = 0; h < heads; ++h) {
        const auto at = static_cast<std::size_t>(h * tokens + i);
        lse[at] = static_cast<float>(std::log(keys));
        weight[at] = static_cast<float>(1.0 / keys);
        sink[at] = static_cast<float>(std::min(1.0, plan.sink_size / keys));
        local[at] = static_cast<float>(std::min(1.0, static_cast<double>(plan.local_window) / keys));
        distance[at] = static_cast<float>(back / 2.0);
        distance2[at] = static_cast<float>(back * (2.0 * back + 1.0) / 6.0);
        received[at] = static_cast<float>(later);
      }
    }
  }
  capture::LayerRows rows(int index, std::int64_t begin, std::int64_t count) const {
    capture::LayerRows out;
    out.index = index;
    out.row_begin = begin;
    out.num_rows = count;
    out.row_stride = n;
    const auto at = [&](const std::vector<float>& values) { return values.data() + begin; };
    out.lse = out.entropy = at(lse);
    out.pmax = out.first = out.off0 = out.off1 = at(weight);
    out.sink = at(sink);
    out.local = at(local);
    out.dist1 = at(distance);
    out.dist2 = at(distance2);
    out.null_mass = out.key_norm_gi = out.value_norm_gi = out.u_norm_hi = at(zero);
    out.jmax = first_key.data() + begin;
    return out;
  }
  std::int64_t n;
  std::vector<float> lse, weight, sink, local, distance, distance2, zero, received;
  std::vector<std::int32_t> first_key;
};

/// Sums and maxima of blocks of even attention, [heads][B][B].
std::pair<std::vector<float>, std::vector<float>> even_blocks(std::int64_t tokens, int heads, std::int64_t edge) {
  const std::int64_t count = (tokens + edge - 1) / edge;
  std::vector<float> sum(static_cast<std::size_t>(heads * count * count), 0.0f), max(sum);
  for (std::int64_t r = 0; r < count; ++r)
    for (std::int64_t c = 0; c <= r; ++c) {
      double total = 0.0;
      for (std::int64_t i = r * edge; i < std::min(tokens, (r + 1) * edge); ++i)
        total += static_cast<double>(std::min(i + 1, (c + 1) * edge) - c * edge) / static_cast<double>(i + 1);
      for (int h = 0; h < heads; ++h) {
        const auto at = static_cast<std::size_t>((h * count + r) * count + c);
        sum[at] = static_cast<float>(total);
        max[at] = 1.0f / static_cast<float>(r * edge + 1);
      }
    }
  return {std::move(sum), std::move(max)};
}

/// A capture of a model of the shape of Llama-3-8B whose queries and keys are all zero: its attention is even, and the
/// file is as large as any.
void make_capture(const std::string& path, std::int64_t tokens) {
  constexpr int kLayers = 32, kHeads = 32, kGroups = 8, kDim = 128;
  constexpr std::int64_t kRows = 512;
  capture::CaptureHeader header;
  header.model.name = "even attention, shape of Llama-3-8B";
  header.model.architecture = "llama";
  header.model.num_layers = kLayers;
  header.model.num_heads = kHeads;
  header.model.num_kv_heads = kGroups;
  header.model.head_dim = kDim;
  header.model.hidden_size = kHeads * kDim;
  header.model.vocab_size = 1000;
  header.model.context_length = tokens;
  header.plan = capture::plan_of_all_heads(kLayers, kHeads, capture::CaptureLevel::replay);
  header.plan.logits = capture::LogitsKept::none;
  capture::RecordHeader record;
  record.record_id = "0";
  record.num_prompt_tokens = record.num_rows = tokens;
  record.tokens = prompt_of(tokens, header.model.vocab_size).record.tokens;
  for (int layer = 0; layer < kLayers; ++layer) {
    capture::LayerParameters parameters;
    parameters.layer = layer;
    parameters.scale = 1.0f;
    record.layers.push_back(parameters);
  }
  const EvenRows even(header.plan, tokens, kHeads);
  const std::int64_t edge = capture::overview_block_edge(tokens);
  const auto [block_sum, block_max] = even_blocks(tokens, kHeads, edge);
  const std::vector<float> zeros(static_cast<std::size_t>(kRows * kHeads * kDim), 0.0f);
  const auto sink = capture::create_capture(path, {.overwrite = true});
  sink->begin(header);
  sink->begin_record(record);
  for (int layer = 0; layer < kLayers; ++layer) {
    for (std::int64_t begin = 0; begin < tokens; begin += kRows) {
      capture::LayerRows rows = even.rows(layer, begin, std::min(kRows, tokens - begin));
      rows.q_ihd = rows.k_igd = rows.v_igd = zeros.data();
      rows.q_stride = kHeads * kDim;
      rows.kv_stride = kGroups * kDim;
      sink->write_rows(rows);
    }
    capture::LayerColumns columns;
    columns.index = layer;
    columns.num_keys = columns.col_stride = tokens;
    columns.received = columns.received_tail = even.received.data();
    columns.block_edge = edge;
    columns.block_count = (tokens + edge - 1) / edge;
    columns.block_sum = block_sum.data();
    columns.block_max = block_max.data();
    sink->write_columns(columns);
    sink->flush();
  }
  sink->end_record(tokens, {});
  sink->finish(true);
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
  if (argc != 2 && argc != 3) {
    fmt::print(stderr, "usage: headlight_window_bench MODEL | CAPTURE.h5 [TOKENS]\n");
    return 2;
  }
  try {
    const std::string what = argv[1];
    if (argc == 3) headlight::workbench::make_capture(what, std::max(1ll, std::atoll(argv[2])));
    if (what.ends_with(".h5"))
      headlight::workbench::measure_opening(what);
    else
      headlight::workbench::measure_slider(what);
  } catch (const headlight::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
