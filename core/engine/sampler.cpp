#include "core/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/largest_entries.h"
#include "core/engine/logits.h"

namespace headlight::engine {
namespace {

// Ids by falling logit, ties to the smaller id: the order in which mass is counted.
std::vector<std::int32_t> ordered_candidates(std::span<const float> logits, int top_k) {
  return largest_entries(logits, top_k > 0 ? static_cast<std::size_t>(top_k) : logits.size());
}

std::int32_t draw(std::span<const float> logits, const SamplingOptions& options, double uniform) {
  const std::vector<std::int32_t> ids = ordered_candidates(logits, options.top_k);
  const double top = static_cast<double>(logits[static_cast<std::size_t>(ids[0])]);
  std::vector<double> cumulative(ids.size());
  double sum = 0.0;
  for (std::size_t c = 0; c < ids.size(); ++c) {
    const double z = static_cast<double>(logits[static_cast<std::size_t>(ids[c])]);
    sum += std::exp((z - top) / static_cast<double>(options.temperature));
    cumulative[c] = sum;
  }
  // The smallest set of most probable tokens whose mass reaches top_p; at least one.
  const double mass = sum * static_cast<double>(options.top_p);
  const auto last = std::lower_bound(cumulative.begin(), std::prev(cumulative.end()), mass);
  const auto chosen = std::upper_bound(cumulative.begin(), last, uniform * *last);
  return ids[static_cast<std::size_t>(chosen - cumulative.begin())];
}

}  // namespace

std::array<std::uint32_t, 4> philox_4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

double uniform_draw(std::uint64_t seed, std::uint64_t record, std::uint64_t step) {
  const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  const auto high = [](std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); };
  const auto words = philox_4x32_10({low(step), high(step), low(record), high(record)}, {low(seed), high(seed)});
  const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

void check_sampling(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0f) || !std::isfinite(options.temperature))
    throw Error(Errc::invalid_argument,
                fmt::format("temperature must be a number from 0 upwards, found {}", options.temperature));
  if (!(options.top_p > 0.0f && options.top_p <= 1.0f))
    throw Error(Errc::invalid_argument, fmt::format("top-p must be in (0, 1], found {}", options.top_p));
  if (options.top_k < 0)
    throw Error(Errc::invalid_argument, fmt::format("top-k must be 0 (off) or positive, found {}", options.top_k));
}

GeneratedToken sample_token(std::span<const float> logits, const SamplingOptions& options, std::uint64_t record,
                            std::uint64_t step) {
  const LogitFacts facts = logit_facts(logits);
  GeneratedToken token;
  if (options.temperature == 0.0f) {
    token.id = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  } else {
    token.id = draw(logits, options, uniform_draw(static_cast<std::uint64_t>(options.seed), record, step));
  }
  token.logprob = logprob_of(logits, facts, token.id);
  token.entropy = facts.entropy;
  return token;
}

}  // namespace headlight::engine
