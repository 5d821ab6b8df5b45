// Two doors: a tokenizer.json of any content (first byte even), and a text of any bytes for fixed small vocabularies.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "core/formats/tokenizer.h"
#include "core/formats/tokenizer/from_json.h"
#include "core/formats/tokenizer/pipeline.h"

namespace {

using headlight::Error;
using headlight::formats::Tokenizer;
namespace tokenizer = headlight::formats::tokenizer;

std::unique_ptr<Tokenizer> load(std::string_view json) {
  return tokenizer::make_pipeline(
      tokenizer::read_tokenizer_json(headlight::parse_json(json, {.max_bytes = 1u << 20, .max_depth = 64})));
}

/// A byte-level vocabulary, one with byte fallback and one of WordPiece; each with a special token.
const std::vector<std::unique_ptr<Tokenizer>>& fixed_tokenizers() {
  static const auto made = [] {
    const std::string special = R"("added_tokens":[{"id":9,"content":"<s>","special":true}],)";
    std::vector<std::unique_ptr<Tokenizer>> all;
    all.push_back(load("{" + special +
                       R"("normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3,"aa":4},"merges":["a b","a a"]}})"));
    all.push_back(load("{" + special + R"("normalizer":{"type":"Replace","pattern":{"String":" "},"content":"_"},
      "model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"_":1,"_a":2,"<0x00>":3,"<0xFF>":4},"merges":["_ a"]}})"));
    all.push_back(
        load("{" + special + R"("normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},
      "model":{"type":"WordPiece","vocab":{"[UNK]":0,"a":1,"##a":2,".":3}}})"));
    return all;
  }();
  return made;
}

void check(const Tokenizer& model, std::string_view text) {
  const auto encoding = model.encode(text);
  std::vector<std::int32_t> ids;
  for (const auto& token : encoding.tokens) {
    ids.push_back(token.id);
    if (token.byte_begin < -1 || token.byte_end > static_cast<std::int64_t>(text.size()) ||
        token.byte_begin > token.byte_end || token.char_begin > token.char_end)
      __builtin_trap();
  }
  model.decode(ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    if (data[0] % 2 == 0) {
      check(*load(text), "a b\xC3\xA9 12 <s>");
    } else {
      for (const auto& model : fixed_tokenizers()) check(*model, text);
    }
  } catch (const Error&) {
  }
  return 0;
}
