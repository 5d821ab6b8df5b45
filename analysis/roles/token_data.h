#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "analysis/roles/needle_scores.h"

namespace headlight::analysis {

/// Text to tokens and back, as the model's tokenizer does it; no function = a model without tokenizer.
struct TextCodec {
  std::function<std::vector<std::int32_t>(std::string_view)> encode;  ///< without special tokens
  std::function<std::string(std::span<const std::int32_t>)> decode;   ///< without special tokens
  explicit operator bool() const { return static_cast<bool>(encode); }
};

/// What the generators may use of a vocabulary.
struct TokenPool {
  std::optional<std::int32_t> bos;     ///< put first when there is one
  std::vector<std::int32_t> eligible;  ///< ascending ids that are no control tokens and survive decoding and encoding
};

// Every generator is a pure function of its arguments: the same seed gives the same tokens on every machine.

/// [BOS] r_1..r_m r_1..r_m with m distinct tokens, m = min(period, eligible tokens).
struct RepeatedSequence {
  std::vector<std::int32_t> ids;
  std::int64_t period = 0;
};
/// @error invalid_argument  fewer than 2 eligible tokens
RepeatedSequence repeated_sequence(const TokenPool& pool, std::int64_t period, std::uint64_t seed, std::uint64_t index);

/// [BOS] and n - 1 tokens drawn with replacement.
std::vector<std::int32_t> random_sequence(const TokenPool& pool, std::int64_t n, std::uint64_t seed,
                                          std::uint64_t index);

/// A prompt with an answer hidden in it.
struct NeedleSample {
  std::vector<std::int32_t> ids;       ///< prompt
  TokenSpan answer;                    ///< where the answer stands in the prompt; begin = -1: not found
  std::vector<std::int32_t> stop_ids;  ///< an answer ends after one of them
  std::string answer_text;             ///< empty without text
};

/// Where the parts of a needle made of tokens come from.
struct TokenNeedle {
  std::int32_t trigger = 0, stop = 0;  ///< before and after the needle; the prompt ends in `trigger`
  std::vector<std::int32_t> needle;    ///< distinct ids
  std::vector<std::int32_t> haystack;  ///< ids to draw from, none of them in the needle
};
/// Trigger, stop, `needle_tokens` needle ids and all others as haystack, drawn from the pool.
/// @error invalid_argument  fewer than needle_tokens + 4 eligible tokens
TokenNeedle draw_token_needle(const TokenPool& pool, std::int64_t needle_tokens, std::uint64_t seed,
                              std::uint64_t index);

/// [BOS] haystack, trigger needle stop, haystack, trigger: `length` tokens in all, `depth` in [0, 1].
/// @error invalid_argument  length too small for the needle
NeedleSample token_needle_sample(const TokenPool& pool, const TokenNeedle& parts, std::int64_t length, double depth,
                                 std::uint64_t seed, std::uint64_t index);

/// A sentence to hide, what to ask about it, and the part of it that answers.
struct TextNeedle {
  std::string id, needle, question, answer;
};

/// The prompt of the retrieval test. The haystack is cut so that everything fits `length` tokens, the needle goes in at
/// `depth` of it, moved back to the end of a sentence, and is followed by
///
///     "\nBased on the content of the book, Question: <question>\nAnswer: <the needle up to its answer>"
///
/// The first words of the reply are given because small models otherwise answer in words of their own.
/// @error invalid_argument  length too small
NeedleSample text_needle_sample(const TextCodec& codec, const TokenPool& pool, std::span<const std::int32_t> haystack,
                                const TextNeedle& needle, std::int64_t length, double depth);

/// Values to be looked up by random keys: three solved examples and one query.
/// @see AttentionInfluence: Adopting Attention Head Influence for Weak-to-Strong Pretraining Data Selection
struct KeyValueTask {
  std::string text;  ///< a JSON object, three shots, one query; the answer follows
  std::string answer;
};
/// @param values  at least 5 spans of text; keys are 32 hexadecimal digits
KeyValueTask key_value_task(std::span<const std::string> values, std::uint64_t seed, std::uint64_t index);

/// Sequences of words hidden at ten depths, then asked for one by one.
/// @see DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads
struct PasskeyText {
  std::vector<std::string> needles;    ///< ten, in order of depth
  std::vector<double> depths;          ///< ascending, in [0.05, 0.95]
  std::vector<std::string> questions;  ///< each ends before the passkey
  std::vector<std::string> passkeys;   ///< 32 words of the spelling alphabet
};
PasskeyText passkey_text(std::uint64_t seed, std::uint64_t index);

/// Sentences of a text as byte ranges that tile it: cut after . ? ! or a newline that white space (or the end) follows;
/// the white space stays with the sentence before it.
std::vector<std::pair<std::size_t, std::size_t>> split_sentences(std::string_view text);

}  // namespace headlight::analysis
