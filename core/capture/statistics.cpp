#include "core/capture/statistics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "base/closest_match.h"
#include "base/error.h"

namespace headlight::capture {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr auto kRow = StatisticKind::row;
constexpr auto kColumn = StatisticKind::column;
constexpr auto kHead = StatisticKind::head;

constexpr std::string_view kStreamingLlm = "Efficient Streaming Language Models with Attention Sinks";
constexpr std::string_view kSinkEmerges = "When Attention Sink Emerges in Language Models: An Empirical View";
constexpr std::string_view kEntropyGuided = "Entropy-Guided Attention for Private LLMs";
constexpr std::string_view kSnapKv = "SnapKV: LLM Knows What You are Looking for Before Generation";
constexpr std::string_view kHeavyHitter =
    "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models";
constexpr std::string_view kMultiscale = "A Multiscale Visualization of Attention in the Transformer Model";
constexpr std::string_view kSpecialized =
    "Analyzing Multi-Head Self-Attention: Specialized Heads Do the Heavy Lifting, the Rest Can Be Pruned";
constexpr std::string_view kGptOss = "gpt-oss-120b & gpt-oss-20b Model Card";
constexpr std::string_view kDefinition = "definition";

constexpr std::array kStatistics = {
    StatisticInfo{"lse", kRow, "nat", "log-sum-exp of the scores", "ln( sum_{j in V(i)} exp(s_ij) + exp(null) )", -kInf,
                  kInf, false, true, kDefinition},
    StatisticInfo{"entropy", kRow, "nat", "entropy of the row", "-sum_j A_ij ln A_ij - null_mass_i ln null_mass_i", 0.0,
                  kInf, false, true, kEntropyGuided},
    StatisticInfo{"pmax", kRow, "1", "largest weight of the row", "max_j A_ij", 0.0, 1.0, false, true, kSpecialized},
    StatisticInfo{"jmax", kRow, "token", "key with the largest weight",
                  "smallest j with A_ij = max_j A_ij; -1 when no key is visible", -1.0, kInf, true, true, kDefinition},
    StatisticInfo{"first", kRow, "1", "mass on the first token", "A_ip, p = first key that is not padding", 0.0, 1.0,
                  false, false, kSinkEmerges},
    StatisticInfo{"sink", kRow, "1", "mass on the first S tokens", "sum_{p <= j < p+S} A_ij", 0.0, 1.0, false, false,
                  kStreamingLlm},
    StatisticInfo{"local", kRow, "1", "mass on the last W tokens, self included", "sum_{i-W < j <= i} A_ij", 0.0, 1.0,
                  false, false, kStreamingLlm},
    StatisticInfo{"dist1", kRow, "token", "mean distance looked back", "sum_j A_ij (i - j); |i - j| when not causal",
                  0.0, kInf, false, true, kMultiscale},
    StatisticInfo{"dist2", kRow, "token2", "mean squared distance", "sum_j A_ij (i - j)^2", 0.0, kInf, false, true,
                  kDefinition},
    StatisticInfo{"off0", kRow, "1", "mass on the token itself", "A_ii", 0.0, 1.0, false, false, kSpecialized},
    StatisticInfo{"off1", kRow, "1", "mass on the previous token", "A_i,i-1", 0.0, 1.0, false, false, kSpecialized},
    StatisticInfo{"null_mass", kRow, "1", "mass on the learned sink logit", "exp(null - lse_i)", 0.0, 1.0, false, true,
                  kGptOss},
    StatisticInfo{"group_mass", kRow, "1", "mass on one segment of the text", "sum_{j in segment} A_ij", 0.0, 1.0,
                  false, true, kDefinition},
    StatisticInfo{"entropy_real", kRow, "nat", "entropy over real keys",
                  "(entropy_i + m ln m) / (1 - m) + ln(1 - m), m = null_mass_i", 0.0, kInf, false, true, kDefinition,
                  false},
    StatisticInfo{"entropy_normalized", kRow, "1", "entropy relative to its maximum",
                  "entropy_i / ln n_i (n_i + 1 with a learned sink logit); undefined for one outcome", 0.0, 1.0, false,
                  false, kEntropyGuided, false},
    StatisticInfo{"effective_support", kRow, "token", "effective number of keys", "exp(entropy_i)", 1.0, kInf, false,
                  true, kDefinition, false},
    StatisticInfo{"received", kColumn, "1", "attention received, summed over rows", "sum_i A_ij", 0.0, kInf, false,
                  true, kHeavyHitter},
    StatisticInfo{"received_tail", kColumn, "1", "attention received from the last rows of the prompt",
                  "sum_{P-R <= i < P} A_ij, R = tail rows", 0.0, kInf, false, true, kSnapKv},
    StatisticInfo{"received_mean", kColumn, "1", "mean attention received", "received_j / c_j", 0.0, 1.0, false, true,
                  kSinkEmerges, false},
    StatisticInfo{"visible_count", kColumn, "1", "rows that see the key", "c_j", 0.0, kInf, true, true, kDefinition,
                  false},
    StatisticInfo{"received0", kHead, "1", "mean attention received by the first token",
                  "received_mean at the first key that is not padding", 0.0, 1.0, false, true, kSinkEmerges, false},
    StatisticInfo{"received_mean_max", kHead, "1", "largest mean attention received by a key",
                  "max_j received_mean_j over keys with c_j >= 8; undefined when there is none", 0.0, 1.0, false, true,
                  "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training "
                  "through Attention Calibration",
                  false},
    StatisticInfo{"distance", kHead, "token", "mean attention distance", "mean_i dist1_i", 0.0, kInf, false, true,
                  kMultiscale, false},
};

}  // namespace

std::string_view to_string(StatisticKind kind) {
  switch (kind) {
    case StatisticKind::row:
      return "row";
    case StatisticKind::column:
      return "column";
    case StatisticKind::head:
      return "head";
  }
  return "row";
}

std::span<const StatisticInfo> statistics() {
  return kStatistics;
}

std::optional<int> group_mass_segment(std::string_view id) {
  constexpr std::string_view kPrefix = "group_mass:";
  if (!id.starts_with(kPrefix)) return std::nullopt;
  id.remove_prefix(kPrefix.size());
  int segment = -1;
  const auto [end, status] = std::from_chars(id.data(), id.data() + id.size(), segment);
  if (status != std::errc() || end != id.data() + id.size() || segment < 0) return std::nullopt;
  return segment;
}

std::optional<std::string_view> base_statistic(std::string_view id) {
  constexpr std::string_view kSuffix = "_base";
  if (!id.ends_with(kSuffix)) return std::nullopt;
  return id.substr(0, id.size() - kSuffix.size());
}

const StatisticInfo* find_statistic(std::string_view id) {
  if (const auto plain = base_statistic(id)) id = *plain;
  if (group_mass_segment(id)) id = "group_mass";
  const auto found = std::find_if(kStatistics.begin(), kStatistics.end(), [&](const auto& s) { return s.id == id; });
  return found == kStatistics.end() ? nullptr : &*found;
}

const StatisticInfo& require_statistic(std::string_view id) {
  if (const StatisticInfo* info = find_statistic(id)) return *info;
  std::string all;
  const StatisticInfo* closest = &kStatistics.front();
  for (const StatisticInfo& info : kStatistics) {
    all += (all.empty() ? "" : ", ") + std::string(info.id);
    if (edit_distance(id, info.id) < edit_distance(id, closest->id)) closest = &info;
  }
  throw Error(Errc::invalid_argument,
              fmt::format("unknown statistic '{}', did you mean '{}'? There are: {}", id, closest->id, all));
}

std::string head_name(int layer, int head) {
  return fmt::format("L{}H{}", layer, head);
}

}  // namespace headlight::capture
