// How heads read: which sentences they come back to, how far they look, and whether they rest on one kind of text only.

#include <algorithm>
#include <cmath>

#include "analysis/roles/model_maps.h"
#include "analysis/roles/pattern_scores.h"
#include "analysis/roles/reading_range.h"
#include "analysis/roles/sentence_suppression.h"
#include "analysis/roles/sentences.h"
#include "analysis/roles/text_prompt.h"
#include "analysis/undefined.h"

namespace headlight::analysis {
namespace {

// --- receivers ------------------------------------------------------------------------------------------------------

constexpr std::int64_t kFewestSentences = 10, kReceivers = 20;

/// Sentences of a trace as token ranges: a boundary is where the tokens of the text before it end.
struct Trace {
  std::vector<std::int32_t> ids;
  std::vector<TokenSpan> sentences;
};
Trace trace_of(const RoleInputs& inputs, const std::string& text) {
  Trace trace;
  if (inputs.pool.bos) trace.ids.push_back(*inputs.pool.bos);
  for (const auto& [begin, end] : split_sentences(text)) {
    const auto ids = inputs.codec.encode(std::string_view(text).substr(begin, end - begin));
    const std::int64_t first = std::ssize(trace.ids);
    trace.ids.insert(trace.ids.end(), ids.begin(), ids.end());
    if (!ids.empty()) trace.sentences.push_back({first, std::ssize(trace.ids)});
  }
  return trace;
}

std::vector<ExperimentItem> receiver_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  std::vector<ExperimentItem> out;
  for (std::size_t k = 0; inputs.codec && k < inputs.traces.size(); ++k) {
    const Trace trace = trace_of(inputs, inputs.traces[k]);
    if (std::ssize(trace.sentences) >= kFewestSentences && std::ssize(trace.ids) <= model.context_length)
      out.push_back({std::to_string(k), "trace"});
  }
  return out;
}

HeadSample run_receivers(const ExperimentContext& context, std::size_t item) {
  const Trace trace = trace_of(context.inputs, context.inputs.traces[item]);
  const auto result = record_prompt(context, {.ids = trace.ids});
  const std::int64_t n = std::ssize(trace.ids);
  HeadValues kurtosis, floored;
  for_each_map(context, *result.capture, 0, n, [&](std::size_t, std::span<const float> attn_ij) {
    const ReceiverScore score = receiver_score({n, attn_ij}, trace.sentences);
    kurtosis.push_back(score.kurtosis);
    floored.push_back(score.above_floor ? score.kurtosis : kUndefined);
  });
  HeadSample sample{.group = "trace", .counted = true, .scores = {}, .facts = {{"sentences", trace.sentences.size()}}};
  sample.scores = {{"receiver-kurtosis", kurtosis}, {"receiver-kurtosis-floored", floored}};
  return sample;
}

/// 1 for the heads with the largest mean kurtosis above the mass floor, 0 for others.
std::vector<HeadValues> derive_receivers(std::span<const HeadSample> samples, const capture::ModelInfo&) {
  const ScoreSummary summary = summarize("receiver-kurtosis-floored", samples, 0);
  HeadValues receiver(summary.mean.size(), 0.0);
  const auto order = ranking(summary.mean);
  for (std::size_t k = 0; k < std::min<std::size_t>(kReceivers, order.size()); ++k) receiver[order[k]] = 1.0;
  return {std::move(receiver)};
}

// --- suppression ----------------------------------------------------------------------------------------------------

HeadSample run_suppression(const ExperimentContext& context, std::size_t item) {
  const Trace trace = trace_of(context.inputs, context.inputs.traces[item]);
  const auto m = std::ssize(trace.sentences);
  auto effect_ab = suppress_sentences(context, trace.ids, trace.sentences);
  center_rows(effect_ab, m);
  HeadSample sample{.group = "trace", .counted = true, .scores = {}, .facts = {{"sentences", m}}};
  for (std::int64_t a = 0; a < m; ++a) {
    Json row = Json::array();
    for (std::int64_t b = 0; b < a; ++b) row.push_back(effect_ab[static_cast<std::size_t>(a * m + b)]);
    sample.facts["effect"].push_back(std::move(row));
  }
  return sample;
}

// --- reading range
// ----------------------------------------------------------------------------------------------------

constexpr std::int64_t kRangeTokens = 512;
constexpr std::size_t kRangeTexts = 2;
constexpr double kShare = 0.3;

std::vector<ExperimentItem> range_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  if (model.context_length < kRangeTokens || inputs.pool.eligible.empty()) return {};
  std::vector<ExperimentItem> out;
  for (std::size_t k = 0; k < kRangeTexts; ++k) out.push_back({std::to_string(k), "text"});
  return out;
}

/// Windowed distance of the mean map of the local heads and future influence of that of the global ones, and how often
/// an anchor follows a plan token.
Json rhythm_of(const std::vector<float>& local_ij, const std::vector<float>& global_ij, std::int64_t n) {
  const auto distance = windowed_distance({n, local_ij});
  const auto influence = future_influence({n, global_ij});
  const auto plans = largest_positions(steps_of(distance), 0.4), anchors = largest_positions(influence, 0.1);
  const Coupling pairs = coupling(plans, anchors, n);
  double mean = 0;
  for (const double w : distance) mean += w / static_cast<double>(n);
  return {{"mean_windowed_distance", mean}, {"peaks", peaks(distance).size()},
          {"plan_tokens", plans.size()},    {"anchors", anchors},
          {"coupling", pairs.hits},         {"coupling_expected", pairs.expected}};
}

HeadSample run_range(const ExperimentContext& context, std::size_t item) {
  const auto ids = text_prompt(context.inputs, item, kRangeTexts, kRangeTokens);
  const auto result = record_prompt(context, {.ids = ids});
  const std::int64_t n = std::ssize(ids);
  HeadValues span, span_dropped;
  for_each_map(context, *result.capture, 0, n, [&](std::size_t, std::span<const float> attn_ij) {
    span.push_back(mean_span({n, attn_ij}, false));
    span_dropped.push_back(mean_span({n, attn_ij}, true));
  });
  const auto ranges = split_by_span(span_dropped, kShare);
  std::vector<float> local_ij(static_cast<std::size_t>(n * n)), global_ij(local_ij.size());
  const auto per_side =
      static_cast<float>(std::max<std::ptrdiff_t>(1, std::count(ranges.begin(), ranges.end(), ReadingRange::local)));
  for_each_map(context, *result.capture, 0, n, [&](std::size_t index, std::span<const float> attn_ij) {
    if (ranges[index] == ReadingRange::middle) return;
    auto& sum = ranges[index] == ReadingRange::local ? local_ij : global_ij;
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += attn_ij[k] / per_side;
  });
  HeadSample sample{.group = "text", .counted = true, .scores = {}, .facts = rhythm_of(local_ij, global_ij, n)};
  sample.scores = {{"span", span}, {"span-without-first", span_dropped}};
  return sample;
}

// --- domains
// ----------------------------------------------------------------------------------------------------------

constexpr std::int64_t kDomainTokens = 512, kRepeatPeriod = 200;
constexpr double kDormantRow = 0.5, kDormant = 0.8, kActive = 0.5, kContrast = 0.3;

/// Documents by domain, and random tokens that come twice: their second half.
std::vector<ExperimentItem> domain_items(const RoleInputs& inputs, const capture::ModelInfo& model) {
  if (model.context_length < kDomainTokens || inputs.pool.eligible.size() < 2) return {};
  std::vector<ExperimentItem> out = {{"repeats", "repeats"}, {"random", "random"}};
  for (const auto& document : inputs.domains) out.push_back({document.domain, document.domain});
  return out;
}

HeadSample run_domain(const ExperimentContext& context, std::size_t item) {
  const RoleInputs& inputs = context.inputs;
  std::vector<std::int32_t> ids;
  std::int64_t first = 1;
  std::string domain = item == 0 ? "repeats" : "random";
  if (item == 0) {
    const auto sequence = repeated_sequence(inputs.pool, kRepeatPeriod, inputs.seed, 0);
    ids = sequence.ids;
    first = std::ssize(ids) - sequence.period;
  } else if (item == 1) {
    ids = repeated_sequence(inputs.pool, kRepeatPeriod, inputs.seed, 1).ids;
    ids.resize((ids.size() + 1) / 2);  // every token once
  } else {
    domain = inputs.domains[item - 2].domain;
    if (inputs.pool.bos) ids.push_back(*inputs.pool.bos);
    const auto more = inputs.codec.encode(inputs.domains[item - 2].text);
    ids.insert(ids.end(), more.begin(), more.begin() + std::min(std::ssize(more), kDomainTokens));
  }
  const auto result = record_prompt(context, {.ids = ids, .keep_queries = false});
  const capture::CaptureView& view = *result.capture;
  const capture::ModelInfo& model = view.header().model;
  const std::int64_t n = view.record(0).num_rows;
  HeadValues dormant;
  for (int layer = 0; layer < model.num_layers; ++layer) {
    const Buffer<float> rows = view.statistic(0, "first", layer);
    for (std::int64_t h = 0; h < model.num_heads; ++h) {
      double count = 0;
      for (std::int64_t i = first; i < n; ++i) count += rows[static_cast<std::size_t>(h * n + i)] > kDormantRow;
      dormant.push_back(count / static_cast<double>(n - first));
    }
  }
  HeadSample sample{.group = domain, .counted = true, .scores = {}, .facts = {{"tokens", n}}};
  sample.scores = {{"first-token-domains", mean_rows(view, "first", first)}, {"dormant-rows", dormant}};
  return sample;
}

/// Largest less smallest mean over domains, and 1 where the head rests on one domain and works on another.
std::vector<HeadValues> derive_domains(std::span<const HeadSample> samples, const capture::ModelInfo& model) {
  const ScoreSummary summary = summarize("first-token-domains", samples, 0);
  HeadValues contrast, switches;
  for (std::size_t h = 0; h < num_heads_of(model); ++h) {
    double low = kUndefined, high = kUndefined;
    for (const auto& [domain, mean] : summary.group_means) {
      low = std::fmin(low, mean[h]);
      high = std::fmax(high, mean[h]);
    }
    contrast.push_back(high - low);
    switches.push_back(high >= kDormant && low <= kActive && high - low >= kContrast ? 1.0 : 0.0);
  }
  return {std::move(contrast), std::move(switches)};
}

}  // namespace

Experiment receivers_experiment() {
  return {
      .id = "receivers",
      .title = "Sentences that heads come back to",
      .source = "Thought Anchors: Which LLM Reasoning Steps Matter?",
      .by_default = false,
      .scores = {{"receiver-kurtosis", "kurtosis over sentences of the mean attention from 4 or more sentences later"},
                 {"receiver-kurtosis-floored", "the same, undefined where no sentence gets 2 / tokens"}},
      .derived = {{"receiver", "1 for the 20 heads with the largest floored kurtosis"}},
      .params = [](const RoleInputs& inputs, const capture::ModelInfo&) -> Json {
        return {{"traces", inputs.traces.size()}, {"proximity", 4}, {"heads", kReceivers}};
      },
      .items = receiver_items,
      .run = run_receivers,
      .derive = derive_receivers};
}

Experiment suppression_experiment() {
  return {.id = "suppression",
          .title = "Sentences hidden from later ones",
          .source = "Thought Anchors: Which LLM Reasoning Steps Matter?",
          .by_default = false,
          .scores = {},
          .derived = {},
          .params = [](const RoleInputs& inputs, const capture::ModelInfo&) -> Json {
            return {{"traces", inputs.traces.size()}, {"temperature", 0.6}, {"rows", "less their mean"}};
          },
          .items = receiver_items,
          .run = run_suppression,
          .derive = {}};
}

Experiment reading_range_experiment() {
  return {.id = "reading-range",
          .title = "Near and far readers",
          .source =
              "Attention Illuminates LLM Reasoning: The Preplan-and-Anchor Rhythm Enables Fine-Grained Policy "
              "Optimization",
          .by_default = false,
          .scores = {{"span", "mean_i sum_j A[i,j] (i-j)", GroupReduce::mean},
                     {"span-without-first", "the same without the first token", GroupReduce::mean}},
          .derived = {},
          .params = [](const RoleInputs&, const capture::ModelInfo&) -> Json {
            return {{"texts", kRangeTexts}, {"tokens", kRangeTokens}, {"share", kShare}};
          },
          .items = range_items,
          .run = run_range,
          .derive = {}};
}

Experiment domains_experiment() {
  return {.id = "domains",
          .title = "Active on one kind of text, at rest on another",
          .source = "Active-Dormant Attention Heads: Mechanistically Demystifying Extreme-Token Phenomena in LLMs",
          .by_default = false,
          .scores = {{"first-token-domains", "mean_i A[i,0], mean over domains", GroupReduce::mean},
                     {"dormant-rows", "share of rows with A[i,0] > 0.5, mean over domains", GroupReduce::mean}},
          .derived = {{"domain-contrast", "largest - smallest mean_i A[i,0] over domains"},
                      {"active-dormant", "1 when a domain has mean A[i,0] >= 0.8 and another <= 0.5"}},
          .params = [](const RoleInputs& inputs, const capture::ModelInfo&) -> Json {
            Json names = {"repeats", "random"};
            for (const auto& document : inputs.domains) names.push_back(document.domain);
            return {{"domains", names}, {"tokens", kDomainTokens}};
          },
          .items = domain_items,
          .run = run_domain,
          .derive = derive_domains};
}

}  // namespace headlight::analysis
