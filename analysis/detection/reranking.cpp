#include "analysis/detection/reranking.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis {
namespace {

// mean - deviations * unbiased standard deviation; -infinity for a single value.
double lower_limit(std::span<const double> values, double deviations) {
  if (values.size() < 2) return -std::numeric_limits<double>::infinity();
  const auto n = static_cast<double>(values.size());
  double mean = 0.0, square = 0.0;
  for (const double value : values) mean += value / n;
  for (const double value : values) square += (value - mean) * (value - mean);
  return mean - deviations * std::sqrt(square / (n - 1.0));
}

}  // namespace

std::vector<DocumentScore> rerank(std::span<const double> query_j, std::span<const double> calibration_j,
                                  std::span<const TokenSpan> documents, const RerankingOptions& options) {
  std::vector<DocumentScore> scores;
  for (const TokenSpan& document : documents) {
    if (document.begin < 0 || document.begin >= document.end || document.end > std::ssize(query_j) ||
        document.end > std::ssize(calibration_j))
      throw Error(Errc::invalid_argument,
                  fmt::format("document at tokens {}:{} is outside the prompts", document.begin, document.end));
    std::vector<double> c_j;
    for (std::int64_t j = document.begin; j < document.end; ++j) c_j.push_back(query_j[j] - calibration_j[j]);
    const double limit =
        options.filter ? lower_limit(c_j, options.deviations) : -std::numeric_limits<double>::infinity();
    DocumentScore score;
    for (const double c : c_j) {
      if (c > limit)
        score.score += c;
      else
        ++score.dropped;
    }
    scores.push_back(score);
  }
  return scores;
}

}  // namespace headlight::analysis
