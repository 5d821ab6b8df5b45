#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "analysis/builtin.h"
#include "analysis/detection/attention_tracker.h"
#include "analysis/detection/probes.h"
#include "analysis/detection/reranking.h"
#include "analysis/detection/structure_analyses.h"
#include "analysis/detection/token_spans.h"
#include "analysis/record_shape.h"
#include "base/error.h"
#include "core/capture/statistics.h"

namespace headlight::analysis {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& sentence) {
  throw Error(Errc::invalid_argument, sentence, {.file = {}, .field = field, .offset = {}, .hint = {}});
}

std::int64_t last_prompt_row(const capture::RecordInfo& info) {
  return std::min(info.header.num_prompt_tokens, info.num_rows) - 1;
}

int label_of(const capture::CaptureView& view, std::int64_t record) {
  const auto label = view.record(record).header.label;
  if (label != 0 && label != 1)
    refuse("label", fmt::format("record {} has no label 0 or 1: the corpus file gives it as \"label\"", record));
  return static_cast<int>(label);
}

// Flat numbers of a parameter, `width` to an example.
std::vector<std::vector<std::int64_t>> tuples_of(const Json& params, const std::string& name, std::size_t width,
                                                 const std::string& meaning) {
  const Json& flat = params[name];
  if (flat.empty() || flat.size() % width != 0)
    refuse(name, fmt::format("expected {} for every example, found {} numbers", meaning, flat.size()));
  std::vector<std::vector<std::int64_t>> tuples(flat.size() / width);
  for (std::size_t at = 0; at < flat.size(); ++at)
    tuples[at / width].push_back(static_cast<std::int64_t>(flat[at].get<double>()));
  return tuples;
}

std::int64_t checked_record(const capture::CaptureView& view, std::int64_t record, const std::string& field) {
  if (record < 0 || record >= view.num_records())
    refuse(field, fmt::format("record {} is not there, the capture has {}", record, view.num_records()));
  return record;
}

// 0 where a head was not recorded, so that classifiers get numbers.
std::vector<double> without_nan(std::vector<double> values) {
  for (double& value : values)
    if (std::isnan(value)) value = 0.0;
  return values;
}

AnalysisReport sat_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  Samples samples;
  for (const auto& span : tuples_of(params, "spans", 3, "record, first and end token of the constraint")) {
    const std::int64_t record = checked_record(input.capture, span[0], "spans");
    const std::int64_t row = last_prompt_row(input.capture.record(record));
    const TokenSpan tokens{span[1], span[2]};
    samples.add(without_nan(span_attention(input.capture, record, std::span(&row, 1), std::span(&tokens, 1),
                                           SpanReduction::max, input.pool, stop)),
                label_of(input.capture, record));
  }
  const SatProbeOptions options{.c = params["c"], .train_share = params["train_share"], .seed = params["seed"]};
  auto result = sat_probe(samples, options, stop);
  AnalysisReport report;
  report.series.push_back(
      number_series("auroc", "1", "P(score of a right answer > score of a wrong one)", result.auroc));
  report.series.push_back(number_series("risk_top", "1", "error rate of the most confident fifth", result.risk_top));
  report.series.push_back(
      number_series("risk_bottom", "1", "error rate of the least confident fifth", result.risk_bottom));
  report.series.push_back(number_series("majority", "1", "share of the larger class", result.majority));
  report.series.push_back(head_series("weight", "1", "weight of the standardised feature max_c A[T,c]", shape,
                                      std::move(result.weight_f), -kInfinity, kInfinity));
  report.notes.push_back(fmt::format("{} examples to train, {} to test", result.train, result.test));
  if (!result.converged) report.notes.emplace_back("the regression stopped before it converged");
  return report;
}

AnalysisReport hallucination_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t first = params["first"], count = params["count"];
  Samples samples;
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) {
    const auto info = input.capture.record(r);
    std::vector<std::int64_t> rows(info.num_rows - last_prompt_row(info));
    std::iota(rows.begin(), rows.end(), last_prompt_row(info));
    std::vector<TokenSpan> tokens;
    for (std::int64_t j = first; j < first + count; ++j) tokens.push_back({j, j + 1});
    samples.add(without_nan(span_attention(input.capture, r, rows, tokens, SpanReduction::sum, input.pool, stop)),
                label_of(input.capture, r));
  }
  HallucinationProbeOptions options;
  options.net.epochs = params["epochs"];
  options.net.seed = params["seed"];
  options.standardise = params["standardise"];
  const auto result = hallucination_probe(samples, options, stop);
  const auto cells = static_cast<std::int64_t>(shape.num_cells());
  std::vector<double> saliency_lh(cells, 0.0);  // features are [tokens][L][H]
  for (std::int64_t f = 0; f < samples.num_features; ++f)
    saliency_lh[f % cells] += result.saliency_f[f] / static_cast<double>(count);
  AnalysisReport report;
  report.series.push_back(number_series("auroc", "1", "on the test half", result.auroc));
  report.series.push_back(number_series("accuracy", "1", "on the test half", result.accuracy));
  report.series.push_back(head_series("saliency", "1", "mean |first-layer weight| over tokens", shape,
                                      std::move(saliency_lh), 0, kInfinity));
  report.notes.push_back(fmt::format("{} examples to train, {} to test", result.train, result.test));
  return report;
}

AnalysisReport mechanistic_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  Samples samples;
  for (const auto& example :
       tuples_of(params, "statements", 4, "record, first and end token of the statement, and its class")) {
    const std::int64_t record = checked_record(input.capture, example[0], "statements");
    const std::int64_t row = last_prompt_row(input.capture.record(record));
    const TokenSpan tokens{example[1], example[2]};
    const auto mass_lh = span_attention(input.capture, record, std::span(&row, 1), std::span(&tokens, 1),
                                        SpanReduction::mean, input.pool, stop);
    std::vector<double> mean_l;
    for (int l = 0; l < shape.num_layers; ++l)
      mean_l.push_back(mean_defined(std::span(mass_lh).subspan(l * shape.num_heads, shape.num_heads)));
    samples.add(mean_l, static_cast<int>(example[3]));
  }
  const double largest = *std::max_element(samples.x_sf.begin(), samples.x_sf.end());
  for (double& x : samples.x_sf) x /= largest > 0.0 ? largest : 1.0;
  const MechanisticProbeOptions options{
      .neighbours = params["neighbours"],
      .metric = params["metric"] == "manhattan" ? Metric::manhattan : Metric::euclidean,
      .folds = params["folds"],
      .seed = params["seed"]};
  const auto result = mechanistic_probe(samples, {}, options);
  AnalysisReport report;
  report.series.push_back(number_series("f1", "1", "macro F1, out of fold", result.f1));
  report.series.push_back(number_series("f1_shuffled", "1", "the same with shuffled classes", result.f1_random));
  report.series.push_back(
      number_series("score", "1", "(f1 - f1_shuffled) / (1 - f1_shuffled)", result.score, -kInfinity, 1));
  report.notes.emplace_back("the baseline shuffles classes; the paper's is a randomly initialised model");
  return report;
}

// A segment of that name, else the first place where the words stand.
TokenSpan part_of(const capture::RecordHeader& header, const std::string& words, const std::string& field) {
  auto span = find_segment(header, words);
  if (!span) span = find_text(header, words);
  if (!span) refuse(field, fmt::format("neither a segment of the chat nor words of the text: '{}'", words));
  return *span;
}

AnalysisReport tracker_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto cells = static_cast<std::int64_t>(shape.num_cells());
  std::vector<std::vector<double>> focus_rc;
  std::vector<double> by_class[2];
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) {
    const auto info = input.capture.record(r);
    const std::int64_t row = last_prompt_row(info);
    const TokenSpan parts[] = {part_of(info.header, params["instruction"], "instruction"),
                               part_of(info.header, params["data"], "data")};
    const auto mass = span_attention(input.capture, r, std::span(&row, 1), parts, SpanReduction::sum, input.pool, stop);
    auto& focus_c = focus_rc.emplace_back();
    for (std::int64_t c = 0; c < cells; ++c) focus_c.push_back(focus(mass[c], mass[cells + c]));
    const auto label = info.header.label;
    if (label == 0 || label == 1) by_class[label].insert(by_class[label].end(), focus_c.begin(), focus_c.end());
  }
  std::vector<std::int64_t> heads;
  AnalysisReport report;
  const bool learned = params["heads"].empty() && !by_class[0].empty() && !by_class[1].empty();
  if (learned) {
    heads = important_heads(by_class[0], by_class[1], cells, params["k"]);
    report.notes.emplace_back("heads and threshold were chosen on these records: judge them on others");
  } else if (!params["heads"].empty()) {
    for (const auto& head : tuples_of(params, "heads", 2, "layer and head")) {
      const auto at = std::find(shape.layers.begin(), shape.layers.end(), head[0]) - shape.layers.begin();
      if (at == shape.num_layers || head[1] < 0 || head[1] >= shape.num_heads)
        refuse("heads", fmt::format("layer {} head {} is not recorded", head[0], head[1]));
      heads.push_back(at * shape.num_heads + head[1]);
    }
  }
  Table chosen{.id = "heads", .title = "Important heads", .columns = {"head"}, .rows = {}};
  for (const std::int64_t c : heads) chosen.rows.push_back({cell_name(shape, c)});
  Table scores{
      .id = "records", .title = "Focus score of every record", .columns = {"record", "label", "score"}, .rows = {}};
  std::vector<double> score_of[2], all;
  std::vector<int> labels;
  for (std::int64_t r = 0; r < std::ssize(focus_rc); ++r) {
    const double score = focus_score(focus_rc[r], heads);
    const auto label = input.capture.record(r).header.label;
    scores.rows.push_back({r, label, std::isnan(score) ? Json(nullptr) : Json(score)});
    if (label != 0 && label != 1) continue;
    score_of[label].push_back(score);
    all.push_back(-score);  // attacked prompts have the lower focus
    labels.push_back(static_cast<int>(label));
  }
  report.tables.push_back(std::move(chosen));
  report.tables.push_back(std::move(scores));
  report.series.push_back(number_series("threshold", "1", "focus score below which a prompt is rejected",
                                        heads.empty() ? 0.5 : focus_threshold(score_of[0], score_of[1])));
  report.series.push_back(number_series("auroc", "1", "P(attacked prompt scores below a normal one)",
                                        heads.empty() ? kUndefined : roc_auc(all, labels)));
  report.series.push_back(head_series("focus", "1", "inst / (inst + data + 1e-8) of the last prompt row, this record",
                                      shape, focus_rc[input.record]));
  if (heads.empty())
    report.notes.emplace_back("no head separates the records: give heads, or records labelled 0 and 1");
  return report;
}

// "[k] text" documents: from the marker at the start of a line to the next marker or blank line.
std::vector<TokenSpan> numbered_documents(const capture::RecordHeader& header) {
  std::vector<TokenSpan> documents;
  std::size_t from = 0;
  for (int k = 1;; ++k) {
    const std::string marker = fmt::format("[{}] ", k);
    std::size_t at = header.text.find(marker, from);
    while (at != std::string::npos && at > 0 && header.text[at - 1] != '\n') at = header.text.find(marker, at + 1);
    if (at == std::string::npos) return documents;
    const std::size_t blank = header.text.find("\n\n", at), next = header.text.find(fmt::format("\n[{}] ", k + 1), at);
    const std::size_t end = std::min({blank, next, header.text.size()});
    const auto span = tokens_of_bytes(header, static_cast<std::int64_t>(at), static_cast<std::int64_t>(end));
    if (!span) return documents;
    documents.push_back(*span);
    from = end;
  }
}

AnalysisReport reranking_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const auto token_scores = [&](std::int64_t record, const std::vector<TokenSpan>& documents) {
    const auto info = input.capture.record(record);
    return summed_attention(input.capture, record, {documents.back().end, last_prompt_row(info) + 1}, input.pool, stop);
  };
  const auto info = input.capture.record(input.record);
  const auto documents = numbered_documents(info.header);
  if (documents.empty()) refuse("text", "the text holds no documents '[1] ...', '[2] ...' at the start of a line");
  const auto query_j = token_scores(input.record, documents);
  std::vector<double> calibration_j(query_j.size(), 0.0);
  const std::int64_t calibration = params["calibration"];
  AnalysisReport report;
  if (calibration >= 0) {
    checked_record(input.capture, calibration, "calibration");
    const auto other = numbered_documents(input.capture.record(calibration).header);
    if (other.size() != documents.size() || other.back().end != documents.back().end)
      refuse("calibration", fmt::format("record {} does not hold the same documents at the same tokens", calibration));
    calibration_j = token_scores(calibration, documents);
  } else {
    report.notes.emplace_back("no content-free query was subtracted: give its record as calibration");
  }
  const auto scores = rerank(query_j, calibration_j, documents);
  std::vector<double> value;
  for (const auto& score : scores) value.push_back(score.score);
  Table table{.id = "ranking",
              .title = "Documents, best first",
              .columns = {"rank", "document", "score", "dropped"},
              .rows = {}};
  for (const std::int64_t k : largest(value, std::ssize(value)))
    table.rows.push_back({std::ssize(table.rows) + 1, k + 1, scores[k].score, scores[k].dropped});
  report.tables.push_back(std::move(table));
  report.series.push_back({.id = "score",
                           .unit = "1",
                           .formula = "sum over kept tokens of t_j(query) - t_j(N/A), t_j = sum_lh mean_i A_ij",
                           .axes = {"document"},
                           .shape = {std::ssize(value)},
                           .values = std::move(value),
                           .low = -kInfinity,
                           .high = kInfinity});
  return report;
}

Parameter seed_parameter() {
  return {"seed", 0, 0, 1 << 30, "of every random choice", {}};
}

}  // namespace

std::vector<Analysis> detection_analyses() {
  std::vector<Analysis> list = {
      {.id = "sat-probe",
       .title = "Constraint satisfaction probe",
       .summary = "Predicts from attention to a constraint whether the completion will be right; labelled corpora",
       .source = "Attention Satisfies: A Constraint-Satisfaction Lens on Factual Errors of Language Models",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters =
           {{"spans", Json::array(), 0, 1e9, "record, first and end token of each constraint, one after the other", {}},
            {"c", 0.05, 1e-6, 1e6, "weight of the data against the L1 penalty", {}},
            {"train_share", 0.5, 0.05, 0.95, "stratified share to train on", {}},
            seed_parameter()},
       .run = sat_report,
       .over_records = true},
      {.id = "hallucination-probe",
       .title = "Cross-modal hallucination probe",
       .summary = "Predicts hallucination from attention of the answer to a block of (image) tokens; labelled corpora",
       .source = "DHCP: Detecting Hallucinations by Cross-modal Attention Pattern in Large Vision-Language Models",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"first", 0, 0, 1 << 30, "first token of the block", {}},
                      {"count", 1, 1, 1 << 20, "tokens of the block, the same in every record", {}},
                      {"epochs", 30, 1, 10000, "passes over the training half", {}},
                      {"standardise", false, -kInfinity, kInfinity, "scale features first (the paper does not)", {}},
                      seed_parameter()},
       .run = hallucination_report,
       .over_records = true},
      {.id = "mechanistic-probe",
       .title = "Reasoning-step probe",
       .summary = "Whether attention of the last row tells which statements take part in the reasoning",
       .source = "Towards a Mechanistic Interpretation of Multi-Step Reasoning Capabilities of Language Models",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters =
           {{"statements", Json::array(), 0, 1e9, "record, first and end token, class of each statement", {}},
            {"neighbours", 8, 1, 1000, "nearest neighbours, weighted by 1 / distance", {}},
            {"folds", 2, 2, 100, "of the cross-validation (text: 5)", {}},
            {"metric", "euclidean", -kInfinity, kInfinity, "distance of features", {"euclidean", "manhattan"}},
            seed_parameter()},
       .run = mechanistic_report,
       .over_records = true},
      {.id = "attention-tracker",
       .title = "Prompt injection by the focus score",
       .summary =
           "Whether important heads look at the instruction or at the data; records labelled 0 normal, 1 attacked",
       .source = "Attention Tracker: Detecting Prompt Injection Attacks in LLMs",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters =
           {{"instruction", "system", -kInfinity, kInfinity, "segment of the chat, or words of the text", {}},
            {"data", "user", -kInfinity, kInfinity, "segment of the chat, or words of the text", {}},
            {"heads", Json::array(), 0, 1e6, "layer, head, layer, head, ...; empty = choose by the labels", {}},
            {"k", 4.0, 0.0, 100.0, "deviations between normal and attacked that make a head important", {}}},
       .run = tracker_report,
       .over_records = true},
      {.id = "in-context-reranking",
       .title = "In-context re-ranking",
       .summary = "Ranks the documents '[k] ...' of a prompt by the attention of the query behind them",
       .source = "Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"calibration", -1, -1, 1 << 30, "record with the query N/A; -1 = none", {}}},
       .run = reranking_report},
  };
  auto structure = structure_analyses();
  std::move(structure.begin(), structure.end(), std::back_inserter(list));
  return list;
}

}  // namespace headlight::analysis
