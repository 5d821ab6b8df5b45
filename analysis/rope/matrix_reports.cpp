#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "analysis/rope/causal_pattern.h"
#include "analysis/rope/makers.h"
#include "analysis/rope/matrix_entropy.h"
#include "analysis/rope/operands.h"
#include "analysis/row_replay.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

AnalysisReport matrix_entropy(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const bool keys = params["source"] == "key";
  const RankNorm norm = params["norm"] == "trace" ? RankNorm::trace : RankNorm::top_r;
  std::vector<int> ranks;
  for (const Json& r : params["ranks"]) ranks.push_back(r);
  const int heads = keys ? shape.num_kv_heads : shape.num_heads, planes = shape.head_dim / 2;
  struct OfHead {
    std::vector<double> planes, ranks;
    double mean = kUndefined, selected = kUndefined;
  };
  std::vector<OfHead> found(static_cast<std::size_t>(shape.num_layers * heads));
  for (int l = 0; l < shape.num_layers; ++l) {
    check_stop(stop);
    std::vector<std::vector<float>> x(static_cast<std::size_t>(heads));
    for (int h = 0; h < heads; ++h)
      x[static_cast<std::size_t>(h)] = keys ? read_keys(input, shape, l, h) : read_queries(input, shape, l, h);
    input.pool.parallel_for(heads, [&](std::int64_t h, int) {
      OfHead& own = found[static_cast<std::size_t>(l * heads + h)];
      const auto& x_jd = x[static_cast<std::size_t>(h)];
      own.planes.assign(static_cast<std::size_t>(planes), kUndefined);
      own.ranks.assign(ranks.size(), kUndefined);
      if (x_jd.empty()) return;
      own.planes = plane_entropies(x_jd, shape.head_dim);
      own.mean = mean_defined(own.planes);
      const std::vector<double> eigenvalues = gram_eigenvalues(x_jd, shape.head_dim);
      for (std::size_t r = 0; r < ranks.size(); ++r) own.ranks[r] = effective_rank(eigenvalues, ranks[r], norm);
      own.selected = effective_rank(eigenvalues, params["select"], norm);
    });
  }
  std::vector<double> by_plane, mean, by_rank;
  std::vector<std::size_t> order;
  for (std::size_t at = 0; at < found.size(); ++at) {
    by_plane.insert(by_plane.end(), found[at].planes.begin(), found[at].planes.end());
    by_rank.insert(by_rank.end(), found[at].ranks.begin(), found[at].ranks.end());
    mean.push_back(found[at].mean);
    if (!std::isnan(found[at].selected)) order.push_back(at);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return found[a].selected < found[b].selected; });
  Table flagged{.id = "flagged",
                .title = "Heads with the lowest truncated effective rank",
                .columns = {"layer", keys ? "kv_head" : "head", "rank"},
                .rows = {}};
  for (std::size_t n = 0; n < std::min(order.size(), params["flagged"].get<std::size_t>()); ++n)
    flagged.rows.push_back({shape.layers[order[n] / static_cast<std::size_t>(heads)],
                            order[n] % static_cast<std::size_t>(heads), found[order[n]].selected});
  const std::string axis = keys ? "kv_head" : "head";
  AnalysisReport report;
  report.tables.push_back(std::move(flagged));
  report.series.push_back({"entropy",
                           "nat",
                           "mean over planes of plane_entropy",
                           {"layer", axis},
                           {shape.num_layers, heads},
                           std::move(mean),
                           0,
                           std::log(2.0)});
  report.series.push_back({"rank",
                           "1",
                           "exp(-sum_{i<=r} p_i ln p_i) of the eigenvalues of X^T X",
                           {"layer", axis, "r"},
                           {shape.num_layers, heads, std::ssize(ranks)},
                           std::move(by_rank),
                           0,
                           static_cast<double>(shape.head_dim)});
  report.series.push_back({"plane_entropy",
                           "nat",
                           "-sum lambda ln lambda of the 2 x 2 Gram matrix of the plane, trace 1",
                           {"layer", axis, "plane"},
                           {shape.num_layers, heads, planes},
                           std::move(by_plane),
                           0,
                           std::log(2.0)});
  report.notes.emplace_back(
      "after the rotation, as multiplied; r = 1 is 1 with norm top_r, the paper's truncation to 1 must be norm trace");
  return report;
}

AnalysisReport causal_pattern_report(const AnalysisInput& input, const Json& params, const std::stop_token& stop) {
  const RecordShape shape = record_shape(input);
  const std::int64_t n = std::min(params["tokens"].get<std::int64_t>(), shape.num_rows - shape.first_key);
  std::vector<std::int64_t> records;
  for (std::int64_t r = 0; r < input.capture.num_records(); ++r) {
    const capture::RecordInfo info = input.capture.record(r);
    if (info.has_replay && info.replay_row_begin <= info.header.first_key &&
        info.replay_row_end >= info.header.first_key + n)
      records.push_back(r);
  }
  if (records.empty() || n < 3)
    throw Error(Errc::invalid_argument, "needs the queries of the first rows of a text of three tokens or more");
  std::vector<double> eta, slope;
  for (int l = 0; l < shape.num_layers; ++l) {
    std::vector<double> scores(static_cast<std::size_t>(n * n), 0.0);
    double added = 0.0;
    for (const std::int64_t r : records) {
      const AnalysisInput of_record{input.capture, r, input.pool};
      const RecordShape record = record_shape(of_record);
      RowReplay replay(input.capture, r, l);
      for (int h = 0; h < shape.num_heads; ++h) {
        check_stop(stop);
        if (!replay.recorded(h)) continue;
        replay.open(h);
        added += 1.0;
        input.pool.parallel_for(n, [&](std::int64_t i, int) {
          std::vector<float> score_j;
          const kernels::KeyRange keys = replay.scores(record.first_key + i, score_j);
          for (std::int64_t j = keys.begin; j < keys.end; ++j)
            scores[static_cast<std::size_t>(i * n + j - record.first_key)] +=
                static_cast<double>(score_j[static_cast<std::size_t>(j - keys.begin)]);
        });
      }
    }
    for (double& score : scores) score /= added;
    const CausalPattern pattern = causal_pattern(scores, n, params["skip_first"]);
    eta.push_back(pattern.eta);
    slope.push_back(pattern.slope);
  }
  AnalysisReport report;
  report.series.push_back({"eta",
                           "1",
                           "Var(S - mean over its diagonal) / Var(S), S = mean scores over heads and texts",
                           {"layer"},
                           {shape.num_layers},
                           std::move(eta),
                           0,
                           1});
  report.series.push_back({"slope",
                           "nat/token",
                           "regression of S on i - j",
                           {"layer"},
                           {shape.num_layers},
                           std::move(slope),
                           -kInfinity,
                           kInfinity});
  report.notes.push_back(
      fmt::format("mean over {} texts, first {} tokens; the paper takes 1000 texts, and what single texts say about "
                  "their content is in the rest here",
                  records.size(), n));
  return report;
}

}  // namespace

Analysis matrix_entropy_analysis() {
  return {.id = "matrix-entropy",
          .title = "Matrix entropy of keys, by plane and truncated",
          .summary = "How many directions the rotated keys of a head use; few of them make bright bands",
          .source = "DoPE: Denoising Rotary Position Embedding",
          .needs = {Need::qkv},
          .parameters = {{"source", "key", -kInfinity, kInfinity, "vectors to look at", {"key", "query"}},
                         {"norm", "top_r", -kInfinity, kInfinity, "normaliser of the eigenvalues", {"top_r", "trace"}},
                         {"ranks", {1, 4, 8, 16, 32, 64, 0}, 0, 1 << 20, "r of the series rank; 0 = all"},
                         {"select", 32, 0, 1 << 20, "r by which heads are flagged; 0 = all"},
                         {"flagged", 3, 1, 1 << 20, "heads flagged over the whole model, lowest first"}},
          .run = matrix_entropy};
}

Analysis causal_pattern_analysis() {
  return {.id = "causal-pattern",
          .title = "Positional pattern of the causal mask",
          .summary = "How much of the mean scores depends on absolute positions, which rotations cannot make",
          .source = "Behind RoPE: How Does Causal Mask Encode Positional Information?",
          .needs = {Need::qkv},
          .by_default = false,
          .parameters = {{"tokens", 1024, 3, 4096, "first tokens of each text"},
                         {"skip_first", false, -kInfinity, kInfinity, "leave the first key out: it is the sink"}},
          .run = causal_pattern_report};
}

}  // namespace headlight::analysis
