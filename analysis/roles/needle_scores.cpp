#include "analysis/roles/needle_scores.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <set>

#include "base/error.h"
#include "base/largest_entries.h"

namespace headlight::analysis {
namespace {

/// Mass that the `count` largest entries (ties: lowest position) have inside the span.
double mass_of_largest(std::span<const float> attn_j, std::int64_t count, TokenSpan span) {
  double mass = 0;
  for (const std::int32_t j : largest_entries(attn_j, static_cast<std::size_t>(count)))
    if (j >= span.begin && j < span.end) mass += attn_j[static_cast<std::size_t>(j)];
  return mass;
}

std::map<std::string, int> words_of(std::string_view text) {
  std::map<std::string, int> words;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) ++words[word];
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || byte >= 0x80)
      word += static_cast<char>(std::tolower(byte));
    else
      finish();
  }
  finish();
  return words;
}

}  // namespace

NeedleScores needle_scores(std::span<const DecodeRow> steps, std::span<const std::int32_t> prompt, TokenSpan needle) {
  HEADLIGHT_CHECK(needle.begin >= 0 && needle.size() > 0 && needle.end <= std::ssize(prompt));
  const auto text = prompt.subspan(static_cast<std::size_t>(needle.begin), static_cast<std::size_t>(needle.size()));
  const double length = static_cast<double>(needle.size());
  NeedleScores scores;
  double matches = 0;
  for (std::size_t t = 0; t < steps.size(); ++t) {
    const auto& [attn_j, output] = steps[t];
    const auto best = std::max_element(attn_j.begin(), attn_j.end()) - attn_j.begin();
    if (best >= needle.begin && best < needle.end && prompt[static_cast<std::size_t>(best)] == output)
      scores.retrieval += 1.0 / length;
    const auto occurrences = static_cast<double>(std::count(text.begin(), text.end(), output));
    double mass = 0;
    for (std::int64_t j = needle.begin; j < needle.end; ++j) mass += attn_j[static_cast<std::size_t>(j)];
    scores.semantic += occurrences * mass;
    matches += occurrences;
    if (static_cast<std::int64_t>(t) < needle.size())
      scores.reasoning += mass_of_largest(attn_j, needle.size(), needle) / length;
  }
  scores.semantic_share = matches > 0 ? scores.semantic / matches : std::numeric_limits<double>::quiet_NaN();
  return scores;
}

TokenSpan find_needle(std::span<const std::int32_t> prompt, std::span<const std::int32_t> needle) {
  const std::set<std::int32_t> wanted(needle.begin(), needle.end());
  for (std::size_t begin = 0; begin + needle.size() <= prompt.size() && !needle.empty(); ++begin) {
    std::set<std::int32_t> found;
    for (std::size_t j = begin; j < begin + needle.size(); ++j)
      if (wanted.contains(prompt[j])) found.insert(prompt[j]);
    if (10 * found.size() > 9 * wanted.size())
      return {static_cast<std::int64_t>(begin), static_cast<std::int64_t>(begin + needle.size())};
  }
  return {-1, -1};
}

double rouge1_recall(std::string_view answer, std::string_view reference) {
  const auto wanted = words_of(reference);
  auto given = words_of(answer);
  double total = 0, found = 0;
  for (const auto& [word, count] : wanted) {
    total += count;
    found += std::min(count, given[word]);
  }
  return total > 0 ? found / total : std::numeric_limits<double>::quiet_NaN();
}

double retrieval_threshold(std::int64_t needle_tokens) {
  return std::max(0.1, 1.5 / static_cast<double>(std::max<std::int64_t>(1, needle_tokens)));
}

}  // namespace headlight::analysis
