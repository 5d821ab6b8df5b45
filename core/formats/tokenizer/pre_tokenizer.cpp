#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/formats/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include <pcre2.h>
#include <utf8proc.h>

#include "core/formats/fail.h"

namespace headlight::formats::tokenizer {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;

struct Range {
  std::size_t begin = 0, end = 0;
};

/// Cuts [0, size) at the matches, as the behaviour says; empty pieces are dropped.
std::vector<Range> cut(std::size_t size, const std::vector<Range>& matches, SplitBehavior behavior, bool invert) {
  struct Part {
    Range range;
    bool is_match;
  };
  std::vector<Part> parts;
  std::size_t at = 0;
  for (const Range& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, invert});
  std::vector<Range> pieces;
  bool previous_was_match = false;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    const auto& [range, is_match] = parts[k];
    const bool joins_left = (behavior == SplitBehavior::merged_with_previous && is_match && !previous_was_match) ||
                            (behavior == SplitBehavior::contiguous && k > 0 && is_match == previous_was_match) ||
                            (behavior == SplitBehavior::merged_with_next && !is_match && previous_was_match);
    if (behavior == SplitBehavior::removed && is_match) {
    } else if (joins_left && !pieces.empty()) {
      pieces.back().end = range.end;
    } else if (range.end > range.begin) {
      pieces.push_back(range);
    }
    previous_was_match = is_match;
  }
  return pieces;
}

/// Ranges of maximal runs (or single characters) for which `wanted` holds.
template <class F>
std::vector<Range> runs_of(std::string_view text, bool single, F&& wanted) {
  std::vector<Range> runs;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const std::size_t end = at + static_cast<std::size_t>(c.size);
    if (wanted(c.value)) {
      if (!single && !runs.empty() && runs.back().end == at)
        runs.back().end = end;
      else
        runs.push_back({at, end});
    }
    at = end;
  }
  return runs;
}

bool is_digit(std::int32_t c) {
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

/// PCRE2's \s is not Unicode White_Space: spell it out.
std::string translate(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      constexpr std::string_view space =
          "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{"
          "3000}";
      if (next == 's')
        out += in_class ? std::string(space) : "[" + std::string(space) + "]";
      else if (next == 'S')
        out += "[^" + std::string(space) + "]";
      else
        (out += c) += next;
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

}  // namespace

struct PreTokenizer::Compiled {
  explicit Compiled(const std::string& pattern) {
    const std::string translated = translate(pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr));
    if (!code)
      bad_format({.field = "pre_tokenizer", .offset = {}, .hint = {}}, "the pattern does not compile (code {} at {})",
                 error, offset);
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    context.reset(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(context.get(), kMatchLimit);
  }

  std::vector<Range> matches(std::string_view text) const {
    std::vector<Range> found;
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
        pcre2_match_data_create_from_pattern(code.get(), nullptr), &pcre2_match_data_free);
    for (std::size_t at = 0; at < text.size();) {
      const int result = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                     PCRE2_NO_UTF_CHECK, data.get(), context.get());
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0)
        fail(Errc::failed, {.field = "pre_tokenizer", .offset = {}, .hint = {}},
             "the pattern gives up on this text (code {})", result);
      const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(data.get());
      if (ovector[1] == ovector[0]) {  // an empty match: step over one character
        at = ovector[1] +
             (ovector[1] < text.size() ? static_cast<std::size_t>(code_point_at(text, ovector[1]).size) : 1);
        continue;
      }
      found.push_back({ovector[0], ovector[1]});
      at = ovector[1];
    }
    return found;
  }

  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, &pcre2_code_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context{nullptr, &pcre2_match_context_free};
};

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {
  for (const auto& step : steps_) {
    const auto* regex = std::get_if<SplitRegex>(&step);
    compiled_.push_back(regex != nullptr ? std::make_unique<Compiled>(regex->pattern) : nullptr);
  }
}

PreTokenizer::~PreTokenizer() = default;

namespace {

std::vector<Range> find_all(std::string_view text, std::string_view word) {
  std::vector<Range> found;
  for (std::size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + word.size()))
    found.push_back({at, at + word.size()});
  return found;
}

std::vector<Range> ranges_of(const AlignedText& piece, const SplitText& step) {
  return cut(piece.text.size(), find_all(piece.text, step.text), step.behavior, step.invert);
}
std::vector<Range> ranges_of(const AlignedText& piece, const SplitDigits& step) {
  return cut(piece.text.size(), runs_of(piece.text, step.individual, is_digit), SplitBehavior::isolated, false);
}
std::vector<Range> ranges_of(const AlignedText& piece, const SplitWhitespace& step) {
  if (!step.words_only)
    return cut(piece.text.size(), runs_of(piece.text, false, is_white_space), SplitBehavior::removed, false);
  auto words = runs_of(piece.text, false, is_word_character);
  auto others = runs_of(piece.text, false, [](std::int32_t c) { return !is_word_character(c) && !is_white_space(c); });
  words.insert(words.end(), others.begin(), others.end());
  std::sort(words.begin(), words.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return words;
}
std::vector<Range> ranges_of(const AlignedText& piece, const SplitBert&) {
  std::vector<Range> pieces;
  for (const Range& word :
       cut(piece.text.size(), runs_of(piece.text, false, is_white_space), SplitBehavior::removed, false)) {
    const auto text = std::string_view(piece.text).substr(word.begin, word.end - word.begin);
    for (const Range& part : cut(text.size(), runs_of(text, true, is_punctuation), SplitBehavior::isolated, false))
      pieces.push_back({word.begin + part.begin, word.begin + part.end});
  }
  return pieces;
}
std::vector<Range> ranges_of(const AlignedText& piece, const SplitPunctuation& step) {
  return cut(piece.text.size(), runs_of(piece.text, true, is_punctuation), step.behavior, false);
}

AlignedText with_prefix(const AlignedText& piece, std::string_view prefix) {
  if (piece.text.empty() || piece.text.starts_with(prefix)) return piece;
  AlignedText out;
  out.append(prefix, {piece.source.front().begin, piece.source.front().begin});
  out.append(piece, 0, piece.text.size());
  return out;
}

AlignedText metaspaced(const AlignedText& piece, const Metaspace& step, bool is_start) {
  AlignedText out;
  for (std::size_t i = 0; i < piece.text.size(); ++i)
    if (piece.text[i] == ' ')
      out.append(step.replacement, piece.source[i]);
    else
      out.append(piece, i, i + 1);
  const bool prepends =
      step.prepend == Metaspace::Prepend::always || (step.prepend == Metaspace::Prepend::first && is_start);
  return prepends ? with_prefix(out, step.replacement) : out;
}

}  // namespace

std::vector<AlignedText> PreTokenizer::split(const AlignedText& text, bool is_start) const {
  std::vector<AlignedText> pieces;
  if (!text.text.empty()) pieces.push_back(text);
  for (std::size_t k = 0; k < steps_.size(); ++k) {
    std::vector<AlignedText> next;
    for (auto& piece : pieces) {
      const bool at_start = is_start && &piece == &pieces.front();
      const auto add = [&](const std::vector<Range>& ranges) {
        if (ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == piece.text.size())
          next.push_back(std::move(piece));
        else
          for (const Range& range : ranges) next.push_back(piece.slice(range.begin, range.end));
      };
      std::visit(
          [&](const auto& step) {
            using Step = std::decay_t<decltype(step)>;
            if constexpr (std::is_same_v<Step, SplitRegex>) {
              add(cut(piece.text.size(), compiled_[k]->matches(piece.text), step.behavior, step.invert));
            } else if constexpr (std::is_same_v<Step, PrefixSpace>) {
              next.push_back(with_prefix(piece, " "));
            } else if constexpr (std::is_same_v<Step, Metaspace>) {
              piece = metaspaced(piece, step, at_start);
              if (step.split)
                add(cut(piece.text.size(), find_all(piece.text, step.replacement), SplitBehavior::merged_with_next,
                        false));
              else
                next.push_back(std::move(piece));
            } else {
              add(ranges_of(piece, step));
            }
          },
          steps_[k]);
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace headlight::formats::tokenizer
