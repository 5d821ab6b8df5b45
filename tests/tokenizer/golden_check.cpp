#include "tests/tokenizer/golden_check.h"

#include <algorithm>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/formats/tokenizer/from_json.h"
#include "core/formats/tokenizer/pipeline.h"

namespace headlight::testing_support {

using namespace formats;

std::vector<std::int32_t> ids_of(const Encoding& encoding) {
  std::vector<std::int32_t> ids;
  for (const Token& token : encoding.tokens) ids.push_back(token.id);
  return ids;
}

std::unique_ptr<Tokenizer> trained(const std::string& name) {
  return tokenizer::make_pipeline(tokenizer::read_tokenizer_json(load_json(kFolder + name + ".json", kLimits)));
}

/// Ordinary tokens lie in the text, in its order.
void check_spans(const std::string& text, const Encoding& encoding) {
  std::int64_t at = 0;
  for (const Token& token : encoding.tokens) {
    if (token.byte_begin < 0) continue;
    ASSERT_LE(token.byte_begin, token.byte_end);
    ASSERT_LE(token.byte_end, static_cast<std::int64_t>(text.size()));
    ASSERT_GE(token.byte_begin, at);
    ASSERT_LE(token.char_begin, token.char_end);
    at = token.byte_begin;
  }
}

namespace {

void check_offsets(const Json& item, const std::vector<std::int32_t>& golden, const Encoding& encoding, bool normalises,
                   const std::string& where) {
  const Json* offsets = json_find(item, "offsets");
  // The reference shifts offsets after a byte without a token; ours stay true to the text.
  if (offsets == nullptr || ids_of(encoding) != golden || encoding.num_dropped_bytes > 0) return;
  for (std::size_t t = 0; t < offsets->size(); ++t) {
    const auto begin = (*offsets)[t][0].get<std::int64_t>(), end = (*offsets)[t][1].get<std::int64_t>();
    const Token& token = encoding.tokens[t];
    // Where normalisation joins characters, the reference names the first and we the whole range; an inserted space
    // has the first character in the reference and an empty range with us.
    const bool is_inserted = token.char_begin == token.char_end && token.char_begin == begin;
    const bool covers = normalises && token.char_begin <= begin && token.char_end >= end;
    EXPECT_TRUE((token.char_begin == begin && token.char_end == end) || is_inserted || covers)
        << where << " token " << t << ": expected " << begin << ":" << end << ", found " << token.char_begin << ":"
        << token.char_end;
  }
}

}  // namespace

void check_goldens(const Tokenizer& tokenizer, const std::string& name, const std::vector<std::string>& except) {
  const Json expected = load_json(kFolder + name + ".expected.json", kLimits);
  const Json strings = load_json(kFolder + "strings.json", kLimits);
  const auto prefix = expected["prefix"].get<std::vector<std::int32_t>>(),
             suffix = expected["suffix"].get<std::vector<std::int32_t>>();
  ASSERT_EQ(strings.size(), expected["items"].size());
  const bool normalises = name == "bpe_qwen2" || name == "wordpiece";
  for (std::size_t k = 0; k < strings.size(); ++k) {
    const auto text = strings[k].get<std::string>();
    const Json& item = expected["items"][k];
    const auto holds = [&](const std::string& part) { return text.find(part) != std::string::npos; };
    if (std::any_of(except.begin(), except.end(), holds)) continue;
    // A literal U+2581 is told from a space by one of the two references only.
    if (name == "gemma3" && text.find("\xE2\x96\x81") != std::string::npos) continue;
    const auto golden = item["ids"].get<std::vector<std::int32_t>>();
    const Encoding encoding = tokenizer.encode(text, {.add_special = false, .parse_special = true, .literal = {}});
    EXPECT_EQ(ids_of(encoding), golden) << name << " string " << k << ": " << display_piece(text.substr(0, 80));
    check_spans(text, encoding);
    if (const Json* plain = json_find(item, "plain")) {
      EXPECT_EQ(ids_of(tokenizer.encode(text, {.add_special = false, .parse_special = false, .literal = {}})),
                plain->get<std::vector<std::int32_t>>())
          << name << " plain " << k;
    }
    std::vector<std::int32_t> framed = prefix;
    framed.insert(framed.end(), golden.begin(), golden.end());
    framed.insert(framed.end(), suffix.begin(), suffix.end());
    if (expected["frame_always"].get<bool>() || !golden.empty()) {
      EXPECT_EQ(ids_of(tokenizer.encode(text)), framed) << name << " framed " << k;
    }
    check_offsets(item, golden, encoding, normalises, fmt::format("{} string {}", name, k));
    if (!golden.empty()) {
      const std::string decoded = json_string_or(item, "decoded", text);
      if (decoded.find("\xEF\xBF\xBD") == std::string::npos) {
        EXPECT_EQ(tokenizer.decode(golden), decoded) << name << " decode " << k;
      }
    }
  }
}

}  // namespace headlight::testing_support
