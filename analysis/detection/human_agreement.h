#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headlight::analysis {

/// Characters of a text, half-open.
struct CharacterSpan {
  std::int64_t begin = 0, end = 0;
};

/// One prompt: what a person marked, and the spans of the model's K highest tokens.
struct AgreementCase {
  std::vector<CharacterSpan> human, model;
};

struct SpanAgreement {
  double precision = 0.0, recall = 0.0, f1 = 0.0;
};

/// Overlap of spans, pooled over prompts:
///     precision = (1 / #m) sum_{h,m} |h n m| / |m|,   recall = (1 / #h) sum_{h,m} |h n m| / |h|
/// Spans that overlap within one side are counted twice, as in the paper's code.
/// @see Is Model Attention Aligned with Human Attention? An Empirical Study on Large Language Models for Code
/// Generation
SpanAgreement span_agreement(std::span<const AgreementCase> cases);

/// Krippendorff's alpha of two raters, nominal labels, nothing missing: 1 - D_o / D_e of the coincidence matrix.
/// 1 = identical, 0 = chance; NaN when all labels are equal.
double krippendorff_alpha(std::span<const int> first, std::span<const int> second);

}  // namespace headlight::analysis
