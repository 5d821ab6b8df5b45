#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headlight::analysis {

/// Half-open range of token positions.
struct TokenSpan {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const TokenSpan&) const = default;
};

/// One step of greedy decoding as one head saw it.
struct DecodeRow {
  std::span<const float> attn_j;  ///< A of the row that predicted `output`
  std::int32_t output = 0;        ///< the token that was produced
};

/// How a head took part in copying the needle [a, b) of a prompt x while the answer was produced.
///
///     retrieval  sum_t [a <= argmax_j A_t < b and x_argmax = w_t] / (b - a)             (lowest j attains the maximum)
///     semantic   sum_t n_t sum_{a <= j < b} A_t[j],  n_t = #{a <= i < b : x_i = w_t};   semantic_share = that / sum_t
///     n_t reasoning  sum_t 1/(b-a) sum_{j in top-(b-a) of A_t, a <= j < b} A_t[j]           (first b - a steps)
///
/// retrieval and reasoning are above 1 only when a needle token is produced more than once. A head that stares at one
/// needle token scores 1 / (b - a) on retrieval without copying.
/// @see Retrieval Head Mechanistically Explains Long-Context Factuality (retrieval)
/// @see CompressKV: Semantic Retrieval Heads Know What Tokens are Not Important Before Generation (semantic)
/// @see Not All Heads Matter: A Head-Level KV Cache Compression Method with Integrated Retrieval and Reasoning
/// (reasoning)
struct NeedleScores {
  double retrieval = 0, semantic = 0, reasoning = 0;
  double semantic_share = 0;  ///< in [0, 1]; NaN when no step produced a needle token
};
NeedleScores needle_scores(std::span<const DecodeRow> steps, std::span<const std::int32_t> prompt, TokenSpan needle);

/// First window of needle.size() tokens of `prompt` whose set of tokens covers more than 0.9 of the set of `needle`;
/// {-1, -1} = none. Loss of a token at the edge, merged with its neighbour by the tokenizer, is tolerated.
TokenSpan find_needle(std::span<const std::int32_t> prompt, std::span<const std::int32_t> needle);

/// ROUGE-1 recall: share of the reference's words (lower case, letters and digits, counted with multiplicity) that the
/// answer holds. In [0, 1]; no stemming. NaN for a reference without words.
/// @see ROUGE: A Package for Automatic Evaluation of Summaries
double rouge1_recall(std::string_view answer, std::string_view reference);

/// Smallest retrieval score that counts: 0.1, but 1.5 times chance for needles shorter than 15 tokens.
double retrieval_threshold(std::int64_t needle_tokens);

}  // namespace headlight::analysis
