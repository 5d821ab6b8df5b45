// Heads on running text: how near they look, how much they rest on the first token, how much they write, and where they
// would look if only position counted.

#include <algorithm>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/text_prompt.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kTokens = 1024, kTextShortest = 512, kLocal = 16;
constexpr std::int64_t kFewestTextRows = 8;
constexpr int kSamples = 8;
constexpr std::int64_t kMeanQkLength = 500;

std::int64_t text_length(const capture::ModelInfo& model) {
  return std::min(kTokens, model.context_length);
}

std::vector<ExperimentItem> text_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  std::vector<ExperimentItem> out;
  if (text_length(model) < kTextShortest || inputs.pool.eligible.empty()) return out;
  for (int k = 0; k < kSamples; ++k) out.push_back({std::to_string(k), "text"});
  return out;
}

/// Mean over rows of sum_j A[i,j] |W_O v_j|, from column sums, against the mean norm of the residual stream: an upper
/// bound of what the head adds to it.
HeadValues output_share(const capture::CaptureView& view) {
  const capture::ModelInfo& model = view.header().model;
  const std::int64_t n = view.record(0).num_rows;
  const Buffer<float> norm = view.hidden(0, "norm_l2"), written = view.hidden(0, "u_norm");
  HeadValues share;
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    const Buffer<float> received = view.statistic(0, "received", static_cast<int>(layer));
    double residual = 0;
    for (std::int64_t i = 0; i < n; ++i) residual += norm[static_cast<std::size_t>(layer * n + i)];
    for (std::int64_t h = 0; h < model.num_heads; ++h) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j)
        sum += static_cast<double>(received[static_cast<std::size_t>(h * n + j)]) *
               written[static_cast<std::size_t>((layer * model.num_heads + h) * n + j)];
      share.push_back(sum / residual);
    }
  }
  return share;
}

/// Largest mean attention that a key after the first one gets from itself and later rows (8 at least), and that key:
/// sinks beside the first token.
struct BestColumns {
  HeadValues mean, key;
};
BestColumns best_columns(const capture::CaptureView& view) {
  const capture::ModelInfo& model = view.header().model;
  const std::int64_t n = view.record(0).num_rows;
  BestColumns best;
  for (int layer = 0; layer < model.num_layers; ++layer) {
    const Buffer<float> received = view.statistic(0, "received", layer);
    for (std::int64_t h = 0; h < model.num_heads; ++h) {
      double largest = 0, key = 0;
      for (std::int64_t j = 1; j + kFewestTextRows <= n; ++j) {
        const double mean = received[static_cast<std::size_t>(h * n + j)] / static_cast<double>(n - j);
        if (mean > largest) largest = mean, key = static_cast<double>(j);
      }
      best.mean.push_back(largest);
      best.key.push_back(key);
    }
  }
  return best;
}

/// Mean of operands before rotation; read(begin, end, out) gives rows of [D].
template <class Read>
std::vector<double> mean_unrotated(std::int64_t n, std::int64_t head_dim, const RotaryFrequencies& rotary,
                                   const Read& read) {
  std::vector<float> rows(static_cast<std::size_t>(n * head_dim));
  read(rows.data());
  std::vector<double> mean(static_cast<std::size_t>(head_dim)), x(static_cast<std::size_t>(head_dim));
  for (std::int64_t i = 0; i < n; ++i) {
    std::copy_n(rows.begin() + i * head_dim, head_dim, x.begin());
    rotate_back(x, rotary, static_cast<double>(i));
    for (std::size_t d = 0; d < x.size(); ++d) mean[d] += x[d] / static_cast<double>(n);
  }
  return mean;
}

HeadValues mean_qk(const ExperimentContext& context, const capture::CaptureView& view) {
  const capture::ModelInfo& model = view.header().model;
  const auto record = view.record(0);
  const std::int64_t n = record.num_rows;
  HeadValues scores(num_heads_of(model));
  const int readers = model.num_heads / model.num_kv_heads;
  context.runner.pool().parallel_for(std::int64_t{model.num_layers} * model.num_kv_heads, [&](std::int64_t task, int) {
    const int layer = static_cast<int>(task / model.num_kv_heads), kv = static_cast<int>(task % model.num_kv_heads);
    const RotaryFrequencies& rotary = context.inputs.rotary_l[static_cast<std::size_t>(layer)];
    const double scale = record.header.layers[static_cast<std::size_t>(layer)].scale;
    const auto k = mean_unrotated(n, model.head_dim, rotary, [&](float* out) { view.read_k(0, layer, kv, 0, n, out); });
    for (int r = 0; r < readers; ++r) {
      const int head = kv * readers + r;
      const auto q =
          mean_unrotated(n, model.head_dim, rotary, [&](float* out) { view.read_q(0, layer, head, 0, n, out); });
      scores[static_cast<std::size_t>(layer * model.num_heads + head)] =
          mean_qk_score(q, k, rotary, scale, kMeanQkLength);
    }
  });
  return scores;
}

HeadSample run_text(const ExperimentContext& context, std::size_t item) {
  const auto result =
      record_prompt(context, {.ids = text_prompt(context.inputs, item, kSamples, text_length(context.runner.model())),
                              .local_window = kLocal});
  const capture::CaptureView& view = *result.capture;
  HeadSample sample{.group = "text", .counted = true, .scores = {}, .facts = {{"tokens", view.record(0).num_rows}}};
  BestColumns columns = best_columns(view);
  sample.scores = {{"local-16", mean_rows(view, "local", 1)},
                   {"first-token-text", mean_rows(view, "first", 1)},
                   {"entropy-text", mean_rows(view, "entropy", 1)},
                   {"vertical-text", std::move(columns.mean)},
                   {"vertical-text-key", std::move(columns.key)},
                   {"output-share", output_share(view)},
                   {"mean-qk", mean_qk(context, view)}};
  return sample;
}

}  // namespace

Experiment text_experiment() {
  return {.id = "text",
          .title = "Running text",
          .source = "Efficient Streaming Language Models with Attention Sinks; kvpress (mean-qk)",
          .scores = {{"local-16", "mean_i sum_{i-j < 16} A[i,j]", GroupReduce::mean},
                     {"first-token-text", "mean_i A[i,0]", GroupReduce::mean},
                     {"entropy-text", "mean_i H_i, nats", GroupReduce::mean},
                     {"vertical-text", "max over j > 0 with >= 8 rows of mean_{i >= j} A[i,j]", GroupReduce::mean},
                     {"vertical-text-key", "the j of `vertical-text`", GroupReduce::mean},
                     {"output-share", "mean_i sum_j A[i,j] |W_O v_j| / mean_i |x_i|"},
                     {"mean-qk", "area under the cumulative attention of mean queries over mean keys, 500 positions",
                      GroupReduce::mean}},
          .derived = {},
          .params = [](const RoleInputs& inputs, const capture::ModelInfo& model) -> Json {
            return {{"tokens", text_length(model)}, {"samples", kSamples}, {"text", static_cast<bool>(inputs.codec)}};
          },
          .items = text_items,
          .run = run_text,
          .derive = {}};
}

}  // namespace headlight::analysis
