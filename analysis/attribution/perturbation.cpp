#include "analysis/attribution/perturbation.h"

#include <algorithm>
#include <cmath>

#include "analysis/learning/ranking.h"
#include "analysis/record_shape.h"
#include "base/error.h"

namespace headlight::analysis {
namespace {

// The tokens that are kept, or all of them with the others masked.
std::vector<std::int32_t> reduced(std::span<const std::int32_t> tokens, const std::vector<bool>& keep,
                                  std::optional<std::int32_t> mask) {
  std::vector<std::int32_t> out;
  for (std::size_t j = 0; j < tokens.size(); ++j) {
    if (keep[j])
      out.push_back(tokens[j]);
    else if (mask)
      out.push_back(*mask);
  }
  return out;
}

// Area under a curve over percent, divided by its width.
double area(const std::vector<double>& percent, const std::vector<double>& value) {
  if (percent.size() < 2) return value.empty() ? 0.0 : value.front();
  double sum = 0.0;
  for (std::size_t n = 1; n < percent.size(); ++n)
    sum += 0.5 * (value[n] + value[n - 1]) * (percent[n] - percent[n - 1]);
  return sum / (percent.back() - percent.front());
}

}  // namespace

std::vector<double> leave_one_out(std::span<const std::int32_t> tokens, std::optional<std::int32_t> mask,
                                  const AnswerLogProb& log_prob, std::stop_token stop) {
  const double whole = log_prob(tokens);
  std::vector<double> attr_j;
  for (std::size_t j = 0; j < tokens.size(); ++j) {
    check_stop(stop);
    std::vector<bool> keep(tokens.size(), true);
    keep[j] = false;
    attr_j.push_back(whole - log_prob(reduced(tokens, keep, mask)));
  }
  return attr_j;
}

Faithfulness faithfulness(std::span<const std::int32_t> tokens, std::span<const double> attribution_j,
                          const FaithfulnessOptions& options, const AnswerLogProb& log_prob, std::stop_token stop) {
  HEADLIGHT_CHECK(tokens.size() == attribution_j.size());
  const auto order = largest(attribution_j, std::ssize(attribution_j));
  const double whole = std::exp(log_prob(tokens));
  Faithfulness out;
  for (const double percent : options.percent) {
    check_stop(stop);
    const auto count = std::max<std::int64_t>(1, std::llround(percent / 100.0 * static_cast<double>(tokens.size())));
    std::vector<bool> top(tokens.size(), false), rest(tokens.size(), true);
    for (std::int64_t n = 0; n < std::min<std::int64_t>(count, std::ssize(order)); ++n) {
      top[order[n]] = true;
      rest[order[n]] = false;
    }
    out.deletion_p.push_back(log_prob(reduced(tokens, rest, options.mask)));
    out.insertion_p.push_back(log_prob(reduced(tokens, top, options.mask)));
    const auto steps = static_cast<double>(options.percent.size());
    out.comprehensiveness += (whole - std::exp(out.deletion_p.back())) / steps;
    out.sufficiency += (whole - std::exp(out.insertion_p.back())) / steps;
  }
  out.deletion_area = area(options.percent, out.deletion_p);
  out.insertion_area = area(options.percent, out.insertion_p);
  return out;
}

AttributionAgreement attribution_agreement(std::span<const std::vector<double>> methods) {
  AttributionAgreement out;
  for (const auto& a : methods)
    for (const auto& b : methods) {
      out.spearman_ab.push_back(spearman(a, b));
      out.kendall_ab.push_back(kendall(a, b));
    }
  return out;
}

}  // namespace headlight::analysis
