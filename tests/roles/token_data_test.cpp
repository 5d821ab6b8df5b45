#include "analysis/roles/token_data.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/split_mix.h"
#include "tests/support/refusal.h"

namespace headlight::analysis {
namespace {

using ::testing::ElementsAre;

TokenPool pool_of(std::int32_t first, std::int32_t count) {
  TokenPool pool{.bos = 0, .eligible = {}};
  for (std::int32_t k = 0; k < count; ++k) pool.eligible.push_back(first + k);
  return pool;
}

/// Every word is a token, numbered as it comes; a full stop belongs to its word.
struct Words {
  std::vector<std::string> known;
  TextCodec codec() {
    return {.encode =
                [this](std::string_view text) {
                  std::vector<std::int32_t> ids;
                  std::string word;
                  for (const char c : std::string(text) + " ") {
                    if (c != ' ' && c != '\n') {
                      word += c;
                      continue;
                    }
                    if (word.empty()) continue;
                    auto at = std::find(known.begin(), known.end(), word);
                    if (at == known.end()) at = known.insert(at, word);
                    ids.push_back(static_cast<std::int32_t>(at - known.begin()));
                    word.clear();
                  }
                  return ids;
                },
            .decode =
                [this](std::span<const std::int32_t> ids) {
                  std::string text;
                  for (const auto id : ids) text += (text.empty() ? "" : " ") + known[static_cast<std::size_t>(id)];
                  return text;
                }};
  }
};

std::uint64_t hash_of(const std::vector<std::int32_t>& ids) {
  return fnv1a64(std::string_view(reinterpret_cast<const char*>(ids.data()), 4 * ids.size()));
}

TEST(TokenData, RepeatedSequenceHasDistinctTokensTwice) {
  const auto pool = pool_of(5, 100);
  const auto s = repeated_sequence(pool, 24, 1, 2);
  ASSERT_EQ(s.ids.size(), 49u);
  EXPECT_EQ(s.ids[0], 0);
  EXPECT_EQ(std::set<std::int32_t>(s.ids.begin() + 1, s.ids.begin() + 25).size(), 24u);
  EXPECT_TRUE(std::equal(s.ids.begin() + 1, s.ids.begin() + 25, s.ids.begin() + 25));
  EXPECT_NE(repeated_sequence(pool, 24, 1, 3).ids, s.ids);
  EXPECT_EQ(repeated_sequence(pool, 24, 1, 2).ids, s.ids);
  EXPECT_EQ(repeated_sequence(pool, 500, 1, 0).period, 100);
  TokenPool no_bos = pool;
  no_bos.bos.reset();
  EXPECT_EQ(repeated_sequence(no_bos, 24, 1, 2).ids.size(), 48u);
  testing_support::expect_refused([] { repeated_sequence(pool_of(1, 1), 5, 0, 0); }, Errc::invalid_argument,
                                  {"eligible"});
}

// The same tokens on every machine: hashes made by a separate program in Python.
TEST(TokenData, TokensAreThoseOfTheCommittedHashes) {
  const auto pool = pool_of(5, 1000);
  EXPECT_EQ(hash_of(repeated_sequence(pool, 50, 0, 0).ids), 0x792b3a50ae415d01ull);
  EXPECT_EQ(hash_of(random_sequence(pool, 100, 0, 0)), 0xa856bb64dd9b44fdull);
  const auto parts = draw_token_needle(pool, 8, 0, 0);
  EXPECT_EQ(hash_of(token_needle_sample(pool, parts, 256, 0.5, 0, 0).ids), 0x13cb9c34e745cd5full);
}

TEST(TokenData, TokenNeedles) {
  const auto pool = pool_of(2, 40);
  const auto parts = draw_token_needle(pool, 8, 7, 0);
  std::set<std::int32_t> all(parts.needle.begin(), parts.needle.end());
  EXPECT_EQ(all.size(), 8u);
  EXPECT_EQ(all.count(parts.trigger) + all.count(parts.stop), 0u);
  for (const double depth : {0.0, 0.4, 1.0}) {
    const auto s = token_needle_sample(pool, parts, 64, depth, 7, 0);
    ASSERT_EQ(s.ids.size(), 64u);
    EXPECT_EQ(s.ids.back(), parts.trigger);
    EXPECT_EQ(s.ids[static_cast<std::size_t>(s.answer.begin - 1)], parts.trigger);
    EXPECT_EQ(s.ids[static_cast<std::size_t>(s.answer.end)], parts.stop);
    EXPECT_EQ(std::vector<std::int32_t>(s.ids.begin() + s.answer.begin, s.ids.begin() + s.answer.end), parts.needle);
    for (std::int64_t i = 1; i < std::ssize(s.ids) - 1; ++i)
      if (i < s.answer.begin - 1 || i > s.answer.end) {
        EXPECT_EQ(all.count(s.ids[static_cast<std::size_t>(i)]), 0u) << i;
      }
  }
  testing_support::expect_refused([&] { token_needle_sample(pool, parts, 12, 0.5, 0, 0); }, Errc::invalid_argument,
                                  {"12"});
}

TEST(TokenData, TextNeedlesStandAtTheEndOfASentence) {
  Words words;
  const auto codec = words.codec();
  std::string book;
  for (int s = 0; s < 40; ++s) book += "this is sentence number x. ";
  const auto haystack = codec.encode(book);
  const TextNeedle needle{"key", "The brass key lies under the third stone.", "Where is the brass key ?",
                          "under the third stone."};
  const TokenPool pool{.bos = 9999, .eligible = {}};
  const auto s = text_needle_sample(codec, pool, haystack, needle, 100, 0.53);
  EXPECT_EQ(s.ids.size(), 100u);
  EXPECT_EQ(s.ids[0], 9999);
  const auto needle_ids = codec.encode(needle.needle);
  const auto at = std::search(s.ids.begin(), s.ids.end(), needle_ids.begin(), needle_ids.end());
  ASSERT_NE(at, s.ids.end());
  EXPECT_EQ(words.known[static_cast<std::size_t>(*(at - 1))], "x.");
  EXPECT_NEAR(static_cast<double>(at - s.ids.begin()) / 100, 0.4, 0.08);
  EXPECT_EQ(s.answer.size(), 4);
  const auto start = codec.encode("The brass key lies");  // the reply has begun
  EXPECT_TRUE(std::equal(start.rbegin(), start.rend(), s.ids.rbegin()));
  const auto last = text_needle_sample(codec, pool, haystack, needle, 100, 1.0);
  EXPECT_GT(last.answer.begin, s.answer.begin + 20);
  const auto first = text_needle_sample(codec, pool, haystack, needle, 100, 0.0);
  EXPECT_EQ(first.answer.begin, 5);
  testing_support::expect_refused([&] { text_needle_sample(codec, pool, haystack, needle, 20, 0.5); },
                                  Errc::invalid_argument, {"20"});
}

TEST(TokenData, KeyValueTask) {
  const std::vector<std::string> values = {"red", "green", "blue", "white", "black"};
  const auto task = key_value_task(values, 3, 0);
  const auto at = task.text.rfind("Key: ");
  const std::string key = task.text.substr(at + 5, 32);
  EXPECT_NE(task.text.find("\"" + key + "\": \"" + task.answer + "\""), std::string::npos);
  EXPECT_TRUE(task.text.ends_with("Value:"));
  EXPECT_NE(key_value_task(values, 3, 1).text, task.text);
}

TEST(TokenData, Passkeys) {
  const auto text = passkey_text(0, 0);
  ASSERT_EQ(text.needles.size(), 10u);
  EXPECT_TRUE(std::is_sorted(text.depths.begin(), text.depths.end()));
  EXPECT_GE(text.depths.front(), 0.05);
  EXPECT_LE(text.depths.back(), 0.95);
  EXPECT_EQ(std::set<double>(text.depths.begin(), text.depths.end()).size(), 10u);
  for (std::size_t k = 0; k < 10; ++k) {
    EXPECT_EQ(std::count(text.passkeys[k].begin(), text.passkeys[k].end(), ' '), 31);
    EXPECT_NE(text.needles[k].find(text.passkeys[k]), std::string::npos);
  }
}

TEST(TokenData, Sentences) {
  const std::string text = "One. Two is 3.5 long!  Three?\n\nFour";
  std::vector<std::string> parts;
  for (const auto& [begin, end] : split_sentences(text)) parts.push_back(text.substr(begin, end - begin));
  EXPECT_THAT(parts, ElementsAre("One. ", "Two is 3.5 long!  ", "Three?\n\n", "Four"));
  EXPECT_TRUE(split_sentences("").empty());
}

}  // namespace
}  // namespace headlight::analysis
