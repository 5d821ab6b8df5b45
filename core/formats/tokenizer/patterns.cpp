#include <algorithm>
#include <array>
#include <string_view>

#include "core/formats/fail.h"
#include "core/formats/tokenizer/pre_tokenizer.h"

namespace headlight::formats::tokenizer {
namespace {

constexpr const char* kLlama3Pattern =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr const char* kQwen2Pattern =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr const char* kGpt4oPattern =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr const char* kTekkenPattern =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

struct Named {
  std::string_view name;
  const char* pattern;
  bool single_digits;
};

const std::array<Named, 18>& named_patterns() {
  static const std::array<Named, 18> all = {{{"gpt-2", kGpt2Pattern, false},
                                             {"gpt2", kGpt2Pattern, false},
                                             {"olmo", kGpt2Pattern, false},
                                             {"smollm", kGpt2Pattern, true},
                                             {"starcoder", kGpt2Pattern, true},
                                             {"refact", kGpt2Pattern, true},
                                             {"command-r", kGpt2Pattern, true},
                                             {"codeshell", kGpt2Pattern, true},
                                             {"exaone", kGpt2Pattern, true},
                                             {"llama-bpe", kLlama3Pattern, false},
                                             {"llama3", kLlama3Pattern, false},
                                             {"llama-v3", kLlama3Pattern, false},
                                             {"dbrx", kLlama3Pattern, false},
                                             {"qwen2", kQwen2Pattern, false},
                                             {"deepseek-r1-qwen", kQwen2Pattern, false},
                                             {"gpt-4o", kGpt4oPattern, false},
                                             {"o200k", kGpt4oPattern, false},
                                             {"tekken", kTekkenPattern, false}}};
  return all;
}

}  // namespace

const char* const kGpt2Pattern = R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

std::vector<PreTokenizerStep> pre_tokenizer_by_name(std::string_view name) {
  std::string known;
  for (const Named& entry : named_patterns()) {
    if (entry.name != name) {
      known += (known.empty() ? "" : ", ") + std::string(entry.name);
      continue;
    }
    std::vector<PreTokenizerStep> steps;
    if (entry.single_digits) steps.push_back(SplitDigits{.individual = true});
    steps.push_back(SplitRegex{.pattern = entry.pattern});
    return steps;
  }
  fail(Errc::unsupported, {.field = "tokenizer.ggml.pre", .offset = {}, .hint = "choose one with --pre NAME"},
       "unknown pre-tokenizer '{}'; known: {}", name, known);
}

bool is_known_pattern(std::string_view pattern) {
  constexpr std::string_view simple[] = {R"(\p{N})", R"(\p{N}{1,3})",   R"([0-9])", R"(\d)",
                                         R"(\s+)",   R"(\w+|[^\w\s]+)", R"( )"};
  if (std::find(std::begin(simple), std::end(simple), pattern) != std::end(simple)) return true;
  for (const Named& entry : named_patterns())
    if (pattern == entry.pattern) return true;
  return false;
}

}  // namespace headlight::formats::tokenizer
