#include "analysis/roles/token_data.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/split_mix.h"

namespace headlight::analysis {
namespace {

void start(std::vector<std::int32_t>& ids, const TokenPool& pool) {
  if (pool.bos) ids.push_back(*pool.bos);
}

void append(std::vector<std::int32_t>& ids, std::span<const std::int32_t> more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

/// `count` distinct tokens of the pool, in random order.
std::vector<std::int32_t> draw_distinct(const TokenPool& pool, std::int64_t count, SplitMix64& random) {
  std::vector<std::int32_t> ids = pool.eligible;
  random.shuffle(ids);
  ids.resize(static_cast<std::size_t>(count));
  return ids;
}

std::int32_t draw(const std::vector<std::int32_t>& ids, SplitMix64& random) {
  return ids[static_cast<std::size_t>(random.below(ids.size()))];
}

void check_room(std::int64_t length, std::int64_t needed) {
  if (length < needed)
    throw Error(Errc::invalid_argument,
                fmt::format("a needle prompt of {} tokens leaves no room: {} are needed at least", length, needed));
}

/// What stands before the answer, with a space in front: the first words of the reply are given.
std::string beginning_of(const TextNeedle& needle) {
  std::string text = needle.needle.substr(0, needle.needle.find(needle.answer));
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text.empty() ? text : " " + text;
}

bool ends_sentence(const TextCodec& codec, std::int32_t id) {
  const std::string piece = codec.decode(std::span(&id, 1));
  return !piece.empty() && piece.back() == '.';
}

}  // namespace

RepeatedSequence repeated_sequence(const TokenPool& pool, std::int64_t period, std::uint64_t seed,
                                   std::uint64_t index) {
  RepeatedSequence out;
  out.period = std::min(period, std::ssize(pool.eligible));
  if (out.period < 2)
    throw Error(
        Errc::invalid_argument,
        fmt::format("a repeated sequence needs 2 eligible tokens, the vocabulary has {}", pool.eligible.size()));
  SplitMix64 random = SplitMix64::stream(seed, "repeat", index);
  const auto tokens = draw_distinct(pool, out.period, random);
  start(out.ids, pool);
  append(out.ids, tokens);
  append(out.ids, tokens);
  return out;
}

std::vector<std::int32_t> random_sequence(const TokenPool& pool, std::int64_t n, std::uint64_t seed,
                                          std::uint64_t index) {
  SplitMix64 random = SplitMix64::stream(seed, "random", index);
  std::vector<std::int32_t> ids;
  start(ids, pool);
  while (std::ssize(ids) < n) ids.push_back(draw(pool.eligible, random));
  return ids;
}

TokenNeedle draw_token_needle(const TokenPool& pool, std::int64_t needle_tokens, std::uint64_t seed,
                              std::uint64_t index) {
  if (std::ssize(pool.eligible) < needle_tokens + 4)
    throw Error(Errc::invalid_argument,
                fmt::format("a needle of {} tokens needs {} eligible tokens, the vocabulary has {}", needle_tokens,
                            needle_tokens + 4, pool.eligible.size()));
  SplitMix64 random = SplitMix64::stream(seed, "needle-ids", index);
  auto ids = draw_distinct(pool, std::ssize(pool.eligible), random);
  TokenNeedle parts;
  parts.trigger = ids[0];
  parts.stop = ids[1];
  const auto first = ids.begin() + 2, last = first + needle_tokens;
  parts.needle.assign(first, last);
  parts.haystack.assign(last, ids.end());
  return parts;
}

NeedleSample token_needle_sample(const TokenPool& pool, const TokenNeedle& parts, std::int64_t length, double depth,
                                 std::uint64_t seed, std::uint64_t index) {
  const std::int64_t fixed = std::ssize(parts.needle) + 3 + (pool.bos ? 1 : 0), filler = length - fixed;
  check_room(length, fixed + 2);
  SplitMix64 random = SplitMix64::stream(seed, "haystack", index);
  const auto before = std::clamp<std::int64_t>(std::llround(depth * static_cast<double>(filler)), 1, filler - 1);
  NeedleSample out;
  start(out.ids, pool);
  for (std::int64_t k = 0; k < before; ++k) out.ids.push_back(draw(parts.haystack, random));
  out.ids.push_back(parts.trigger);
  out.answer.begin = std::ssize(out.ids);
  append(out.ids, parts.needle);
  out.answer.end = std::ssize(out.ids);
  out.ids.push_back(parts.stop);
  for (std::int64_t k = before; k < filler; ++k) out.ids.push_back(draw(parts.haystack, random));
  out.ids.push_back(parts.trigger);
  out.stop_ids = {parts.stop};
  return out;
}

NeedleSample text_needle_sample(const TextCodec& codec, const TokenPool& pool, std::span<const std::int32_t> haystack,
                                const TextNeedle& needle, std::int64_t length, double depth) {
  const auto needle_ids = codec.encode(" " + needle.needle);
  const auto question_ids = codec.encode("\nBased on the content of the book, Question: " + needle.question +
                                         "\nAnswer:" + beginning_of(needle));
  NeedleSample out;
  start(out.ids, pool);
  const std::int64_t fixed = std::ssize(out.ids) + std::ssize(needle_ids) + std::ssize(question_ids);
  check_room(length, fixed + 8);
  const std::int64_t kept = std::min(length - fixed, std::ssize(haystack));
  auto at = static_cast<std::int64_t>(static_cast<double>(kept) * depth);
  if (depth >= 1.0)
    at = kept;
  else
    while (at > 0 && !ends_sentence(codec, haystack[static_cast<std::size_t>(at - 1)])) --at;
  append(out.ids, haystack.first(static_cast<std::size_t>(at)));
  append(out.ids, needle_ids);
  append(out.ids, haystack.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(kept - at)));
  append(out.ids, question_ids);
  out.answer = find_needle(out.ids, codec.encode(" " + needle.answer));
  out.answer_text = needle.answer;
  return out;
}

KeyValueTask key_value_task(std::span<const std::string> values, std::uint64_t seed, std::uint64_t index) {
  HEADLIGHT_CHECK(values.size() >= 5);
  SplitMix64 random = SplitMix64::stream(seed, "key-value", index);
  std::vector<std::string> keys;
  for (std::size_t k = 0; k < values.size(); ++k)
    keys.push_back(fmt::format("{:016x}{:016x}", random.next(), random.next()));
  std::vector<std::size_t> order(values.size());
  for (std::size_t k = 0; k < order.size(); ++k) order[k] = k;
  random.shuffle(order);
  KeyValueTask task;
  task.text = "{";
  for (std::size_t k = 0; k < keys.size(); ++k)
    task.text += fmt::format("{}\"{}\": \"{}\"", k == 0 ? "" : ", ", keys[k], values[k]);
  task.text += "}\n";
  for (std::size_t shot = 0; shot < 3; ++shot)
    task.text += fmt::format("Key: {}\nValue: {}\n", keys[order[shot]], values[order[shot]]);
  task.text += fmt::format("Key: {}\nValue:", keys[order[3]]);
  task.answer = values[order[3]];
  return task;
}

PasskeyText passkey_text(std::uint64_t seed, std::uint64_t index) {
  static constexpr std::array<std::string_view, 26> kWords = {
      "alpha",   "bravo", "charlie", "delta",  "echo",     "foxtrot", "golf",   "hotel",  "india",
      "juliett", "kilo",  "lima",    "mike",   "november", "oscar",   "papa",   "quebec", "romeo",
      "sierra",  "tango", "uniform", "victor", "whiskey",  "xray",    "yankee", "zulu"};
  static constexpr std::array<std::string_view, 10> kOrdinals = {"first", "second",  "third",  "fourth", "fifth",
                                                                 "sixth", "seventh", "eighth", "ninth",  "tenth"};
  SplitMix64 random = SplitMix64::stream(seed, "passkey", index);
  PasskeyText out;
  std::vector<int> places(1000);
  for (int k = 0; k < 1000; ++k) places[static_cast<std::size_t>(k)] = k;
  random.shuffle(places);
  for (int k = 0; k < 10; ++k) out.depths.push_back(0.05 + 0.9 * places[static_cast<std::size_t>(k)] / 999.0);
  std::sort(out.depths.begin(), out.depths.end());
  for (const std::string_view ordinal : kOrdinals) {
    std::string passkey;
    for (int word = 0; word < 32; ++word)
      passkey +=
          fmt::format("{}{}", word == 0 ? "" : " ", kWords[static_cast<std::size_t>(random.below(kWords.size()))]);
    out.needles.push_back(
        fmt::format("\n\nRemember this sequence of words, it's the {} passkey to the vault: {}\n\n", ordinal, passkey));
    out.questions.push_back(
        fmt::format("Based on the content of the book, what is the {} passkey to the vault?\nPasskey:", ordinal));
    out.passkeys.push_back(passkey);
  }
  return out;
}

std::vector<std::pair<std::size_t, std::size_t>> split_sentences(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  std::vector<std::pair<std::size_t, std::size_t>> sentences;
  std::size_t begin = 0;
  for (std::size_t k = 0; k < text.size(); ++k) {
    const char c = text[k];
    const bool stop = c == '.' || c == '?' || c == '!';
    if (c != '\n' && !(stop && (k + 1 == text.size() || is_space(text[k + 1])))) continue;
    std::size_t end = k + 1;
    while (end < text.size() && is_space(text[end])) ++end;
    sentences.emplace_back(begin, end);
    begin = end;
    k = end - 1;
  }
  if (begin < text.size()) sentences.emplace_back(begin, text.size());
  return sentences;
}

}  // namespace headlight::analysis
