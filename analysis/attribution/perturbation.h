#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace headlight::analysis {

/// Log-probability (nats) of a fixed answer after a prompt of these tokens.
using AnswerLogProb = std::function<double(std::span<const std::int32_t> tokens)>;

/// attr_j = log p(answer | prompt) - log p(answer | prompt without token j), or with token j replaced by `mask`.
/// One call for the prompt and one per token.
/// @see Is Model Attention Aligned with Human Attention? An Empirical Study on Large Language Models for Code
/// Generation
std::vector<double> leave_one_out(std::span<const std::int32_t> tokens, std::optional<std::int32_t> mask,
                                  const AnswerLogProb& log_prob, std::stop_token stop = {});

struct FaithfulnessOptions {
  std::vector<double> percent = {1, 5, 10, 20, 50};  ///< of the tokens, at least one each
  std::optional<std::int32_t> mask;                  ///< nullopt: tokens are taken out
};

/// What removing tokens in the order of an attribution does to the answer.
struct Faithfulness {
  std::vector<double> deletion_p;   ///< log p without the top p % tokens, per percent
  std::vector<double> insertion_p;  ///< log p with the top p % tokens alone
  double comprehensiveness = 0.0;   ///< mean_p p(all) - p(deleted): high when the tokens were needed
  double sufficiency = 0.0;         ///< mean_p p(all) - p(kept alone): low when the tokens were enough
  double deletion_area = 0.0;       ///< trapezoid of deletion_p over percent, divided by the range of percent
  double insertion_area = 0.0;
};

/// @see ERASER: A Benchmark to Evaluate Rationalized NLP Models
Faithfulness faithfulness(std::span<const std::int32_t> tokens, std::span<const double> attribution_j,
                          const FaithfulnessOptions& options, const AnswerLogProb& log_prob, std::stop_token stop = {});

/// Rank agreement of attributions of the same tokens.
struct AttributionAgreement {
  std::vector<double> spearman_ab, kendall_ab;  ///< [methods][methods], NaN where undefined
};
AttributionAgreement attribution_agreement(std::span<const std::vector<double>> methods);

}  // namespace headlight::analysis
