#include "analysis/detection/structure_analyses.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "analysis/attention_rows.h"
#include "analysis/detection/human_agreement.h"
#include "analysis/detection/structure.h"
#include "analysis/learning/ranking.h"
#include "analysis/record_shape.h"
#include "base/error.h"
#include "core/capture/replay.h"

namespace headlight::analysis {
namespace {

constexpr std::int64_t kMaxRows = 4096;

[[noreturn]] void refuse(const std::string& field, const std::string& sentence) {
  throw Error(Errc::invalid_argument, sentence, {.file = {}, .field = field, .offset = {}, .hint = {}});
}

// Flat pairs of a parameter.
std::vector<Edge> pairs_of(const Json& params, const std::string& name, const std::string& meaning) {
  const Json& flat = params[name];
  if (flat.empty() || flat.size() % 2 != 0)
    refuse(name, fmt::format("expected {}, found {} numbers", meaning, flat.size()));
  std::vector<Edge> pairs;
  for (std::size_t at = 0; at < flat.size(); at += 2)
    pairs.emplace_back(static_cast<std::int64_t>(flat[at].get<double>()),
                       static_cast<std::int64_t>(flat[at + 1].get<double>()));
  return pairs;
}

// visit(layer, head, attn_ij) for every recorded head.
void for_each_map(const AnalysisInput& input, const RecordShape& shape, const std::stop_token& stop,
                  const std::function<void(int, int, std::span<const float>)>& visit) {
  const std::int64_t n = shape.num_rows;
  if (n > kMaxRows)
    throw Error(Errc::invalid_argument, fmt::format("takes at most {} rows, the record has {}", kMaxRows, n));
  std::vector<float> attn_ij(n * n);
  for (int l = 0; l < shape.num_layers; ++l)
    for (const int h : recorded_heads(input.capture, input.record, l)) {
      capture::replay_tile(input.capture, {input.record, l, h}, {0, n, 0, n}, input.pool, attn_ij, stop);
      visit(l, h, attn_ij);
    }
}

// Self-attention of one row, summed over heads of the chosen layers: [N].
std::vector<double> row_attention(const AnalysisInput& input, const RecordShape& shape, std::int64_t row,
                                  int layer_begin, int layer_end, int only_head, const std::stop_token& stop) {
  std::vector<double> sum_j(shape.num_rows, 0.0);
  for (int l = layer_begin; l < layer_end; ++l)
    for (const int h : recorded_heads(input.capture, input.record, l)) {
      if (only_head >= 0 && h != only_head) continue;
      const auto row_j = attention_rows(input.capture, {input.record, l, h}, std::span(&row, 1), input.pool, stop);
      for (std::int64_t j = 0; j < shape.num_rows; ++j) sum_j[j] += row_j[j];
    }
  return sum_j;
}

AnalysisReport human_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  AgreementCase marks;
  for (const auto& [begin, end] : pairs_of(params, "marks", "first and end character of each mark")) {
    if (begin >= end) refuse("marks", fmt::format("characters {}:{} are no span", begin, end));
    marks.human.push_back({begin, end});
  }
  const std::int64_t asked = params["row"], row = asked < 0 ? info.header.num_prompt_tokens + asked : asked;
  const bool heads_of_first = params["compat_heads_of_layer0"];
  struct Choice {
    std::string name;
    int begin, end, head;
  };
  const int last = shape.num_layers - 1;
  const std::vector<Choice> choices =
      heads_of_first ? std::vector<Choice>{{"first", 0, 1, 0}, {"last", 0, 1, shape.num_heads - 1}, {"all", 0, 1, -1}}
                     : std::vector<Choice>{{"first", 0, 1, -1}, {"last", last, last + 1, -1}, {"all", 0, last + 1, -1}};
  Table table{.id = "agreement",
              .title = "Agreement of the K highest tokens with the marks",
              .columns = {"layers", "k", "precision", "recall", "f1", "alpha"},
              .rows = {}};
  for (const Choice& choice : choices) {
    const auto score_j = row_attention(input, shape, row, choice.begin, choice.end, choice.head, stop);
    for (const std::int64_t k : {5, 10, 20}) {
      marks.model.clear();
      const auto& tokens = info.header.tokens;
      std::vector<int> human, model(tokens.size(), 0);
      for (const std::int64_t j : largest(score_j, k)) {
        model[j] = 1;
        if (tokens[j].char_begin >= 0 && tokens[j].char_end > tokens[j].char_begin)
          marks.model.push_back({tokens[j].char_begin, tokens[j].char_end});
      }
      for (const auto& token : tokens)
        human.push_back(std::any_of(marks.human.begin(), marks.human.end(), [&](const CharacterSpan& mark) {
          return token.char_begin < mark.end && token.char_end > mark.begin;
        }));
      const auto result = span_agreement(std::span(&marks, 1));
      table.rows.push_back(
          {choice.name, k, result.precision, result.recall, result.f1, krippendorff_alpha(human, model)});
    }
  }
  AnalysisReport report;
  report.tables.push_back(std::move(table));
  if (heads_of_first)
    report.notes.emplace_back("as the released code: first, last and all heads of layer 0, not layers");
  return report;
}

int bracket_kind(std::string piece) {
  std::erase_if(piece, [](char c) { return c == ' ' || c == '\n' || c == '\t'; });
  if (piece.size() != 1) return 0;
  return std::string_view("([{<").find(piece[0]) != std::string_view::npos   ? 1
         : std::string_view(")]}>").find(piece[0]) != std::string_view::npos ? -1
                                                                             : 0;
}

AnalysisReport bracket_report(const AnalysisInput& input, const Json&, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const auto info = input.capture.record(input.record);
  std::vector<int> kind_j;
  for (std::int64_t j = 0; j < shape.num_rows; ++j) kind_j.push_back(bracket_kind(info.header.tokens[j].piece));
  const auto structure = bracket_structure(kind_j);
  const auto pairs =
      std::count_if(structure.partner_j.begin(), structure.partner_j.end(), [](auto p) { return p >= 0; }) / 2;
  std::vector<double> depth(shape.num_cells(), kUndefined), partner(depth), violation(depth);
  for_each_map(input, shape, stop, [&](int l, int h, std::span<const float> attn_ij) {
    const auto result = hierarchical_attention(attn_ij, structure);
    depth[l * shape.num_heads + h] = result.depth_matching;
    partner[l * shape.num_heads + h] = result.partner_mass;
    violation[l * shape.num_heads + h] = result.violation_mass;
  });
  AnalysisReport report;
  report.series.push_back(head_series("depth_matching", "1", "mean_i mass on keys of the row's depth / their share",
                                      shape, std::move(depth), 0, kInfinity));
  report.series.push_back(
      head_series("partner_mass", "1", "mean over closing brackets of A on the partner", shape, std::move(partner)));
  report.series.push_back(head_series("violation_mass", "1", "mean_i mass on keys where the depth is below 0", shape,
                                      std::move(violation)));
  report.notes.push_back(fmt::format("{} pairs of brackets that are tokens of their own", pairs));
  report.notes.emplace_back("a correlation of these numbers with behaviour is no proof that a head causes it");
  return report;
}

AnalysisReport graph_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  std::vector<TokenSpan> nodes;
  for (const auto& [begin, end] : pairs_of(params, "nodes", "first and end token of each node")) {
    if (begin < 0 || begin >= end || end > shape.num_rows)
      refuse("nodes", fmt::format("tokens {}:{} are no span of the record", begin, end));
    nodes.push_back({begin, end});
  }
  const auto edges = pairs_of(params, "edges", "two node numbers for each edge");
  const std::int64_t count = std::ssize(nodes);
  std::vector<double> mean_lab(shape.num_layers * count * count, 0.0);
  std::vector<double> heads_l(shape.num_layers, 0.0);
  for_each_map(input, shape, stop, [&](int l, int, std::span<const float> attn_ij) {
    const auto node_ab = node_attention(attn_ij, shape.num_rows, nodes);
    for (std::size_t at = 0; at < node_ab.size(); ++at) mean_lab[l * count * count + at] += node_ab[at];
    ++heads_l[l];
  });
  Table table{.id = "layers",
              .title = "Node attention by distance in the graph",
              .columns = {"layer", "itself", "one_hop", "two_hops", "farther", "one_hop_shuffled", "hop_correlation",
                          "degree_correlation"},
              .rows = {}};
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto node_ab = std::span(mean_lab).subspan(l * count * count, count * count);
    for (double& value : node_ab) value /= std::max(heads_l[l], 1.0);
    const auto result = graph_attention(node_ab, count, edges, params["seed"]);
    table.rows.push_back({shape.layers[l], result.share_by_hop[0], result.share_by_hop[1], result.share_by_hop[2],
                          result.share_by_hop[3], result.shuffled_one_hop, result.hop_correlation,
                          result.degree_correlation});
  }
  AnalysisReport report;
  report.tables.push_back(std::move(table));
  report.series.push_back({.id = "node_attention",
                           .unit = "1",
                           .formula = "mean_h mean_{i in a} sum_{j in b} A_ij",
                           .axes = {"layer", "node", "other_node"},
                           .shape = {shape.num_layers, count, count},
                           .values = std::move(mean_lab)});
  report.notes.emplace_back("one_hop close to one_hop_shuffled means that the topology is not used");
  return report;
}

AnalysisReport hop_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t rows = params["rows"], cols = params["cols"], hops = std::max(rows, cols);
  std::vector<double> profile(shape.num_cells() * hops, kUndefined);
  for_each_map(input, shape, stop, [&](int l, int h, std::span<const float> attn_ij) {
    const auto of_head = hop_profile(attn_ij, shape.num_rows, params["first"], rows, cols);
    std::copy(of_head.begin(), of_head.end(), profile.begin() + (l * shape.num_heads + h) * hops);
  });
  AnalysisReport report;
  report.series.push_back({.id = "profile",
                           .unit = "1",
                           .formula = "mean_i mean_{j: hop(i,j) = k} A_ij, hop = Chebyshev distance of patches",
                           .axes = {"layer", "head", "hop"},
                           .shape = {shape.num_layers, shape.num_heads, hops},
                           .values = std::move(profile)});
  return report;
}

}  // namespace

std::vector<Analysis> structure_analyses() {
  return {
      {.id = "human-agreement",
       .title = "Agreement with human attention",
       .summary = "Overlap of the tokens a row looks at most with spans that people marked",
       .source = "Is Model Attention Aligned with Human Attention? An Empirical Study on Large Language Models for "
                 "Code Generation",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"marks", Json::array(), 0, 1e9, "first and end character of each mark, one after the other", {}},
                      {"row", -1, -1e9, 1e9, "row whose attention is compared; -1 = last of the prompt", {}},
                      {"compat_heads_of_layer0",
                       false,
                       -kInfinity,
                       kInfinity,
                       "as the released code: heads of layer 0 where the paper says layers",
                       {}}},
       .run = human_report},
      {.id = "bracket-attention",
       .title = "Attention along brackets",
       .summary = "How far heads follow depth and partners of brackets",
       .source = "Can Interpretation Predict Behavior on Unseen Data?",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {},
       .run = bracket_report},
      {.id = "graph-attention",
       .title = "Attention along a graph in the text",
       .summary = "Attention between nodes by their distance in a graph, against shuffled graphs",
       .source = "Attention Mechanisms Perspective: Exploring LLM Processing of Graph-Structured Data",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"nodes", Json::array(), 0, 1e9, "first and end token of each node, one after the other", {}},
                      {"edges", Json::array(), 0, 1e9, "two node numbers for each edge, one after the other", {}},
                      {"seed", 0, 0, 1 << 30, "of the shuffled graphs", {}}},
       .run = graph_report},
      {.id = "hop-profile",
       .title = "Attention by distance on a grid",
       .summary = "Mean attention between patches k steps apart",
       .source = "How Does Attention Work in Vision Transformers? A Visual Analytics Attempt",
       .needs = {Need::row, Need::qkv},
       .by_default = false,
       .parameters = {{"first", 0, 0, 1 << 30, "first patch token", {}},
                      {"rows", 1, 1, 4096, "rows of the grid", {}},
                      {"cols", 1, 1, 4096, "columns of the grid", {}}},
       .run = hop_report},
  };
}

}  // namespace headlight::analysis
