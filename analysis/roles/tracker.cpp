#include "analysis/roles/tracker.h"

#include <cmath>
#include <limits>

#include "base/error.h"

namespace headlight::analysis {
namespace {

double mass(std::span<const float> attn_j, TokenSpan span) {
  double sum = 0;
  for (std::int64_t j = span.begin; j < span.end; ++j) sum += attn_j[static_cast<std::size_t>(j)];
  return sum;
}

struct Moments {
  double mean = 0, deviation = 0;
};

Moments moments(std::span<const std::vector<double>> prompts, std::size_t h) {
  const double count = static_cast<double>(prompts.size());
  Moments out;
  for (const auto& focus_h : prompts) out.mean += focus_h[h] / count;
  double variance = 0;
  for (const auto& focus_h : prompts) variance += (focus_h[h] - out.mean) * (focus_h[h] - out.mean) / count;
  out.deviation = std::sqrt(variance);
  return out;
}

}  // namespace

double focus(std::span<const float> attn_j, TokenSpan instruction, TokenSpan data) {
  if (data.size() <= 0 || instruction.size() <= 0)
    throw Error(Errc::invalid_argument, "the focus of a prompt needs a token of instruction and a token of data");
  const double i = mass(attn_j, instruction), d = mass(attn_j, data);
  return i / (i + d + 1e-8);
}

ImportantHeads important_heads(std::span<const std::vector<double>> normal, std::span<const std::vector<double>> attack,
                               double k) {
  HEADLIGHT_CHECK(!normal.empty() && !attack.empty());
  ImportantHeads out;
  for (std::size_t h = 0; h < normal.front().size(); ++h) {
    const Moments n = moments(normal, h), a = moments(attack, h);
    out.margin_h.push_back(n.mean - a.mean - k * (n.deviation + a.deviation));
    out.important_h.push_back(out.margin_h.back() > 0);
  }
  return out;
}

double focus_score(std::span<const double> focus_h, std::span<const std::uint8_t> important_h) {
  double sum = 0, count = 0;
  for (std::size_t h = 0; h < focus_h.size(); ++h) {
    if (important_h[h] == 0) continue;
    sum += focus_h[h];
    count += 1;
  }
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

double auroc(std::span<const double> positive, std::span<const double> negative) {
  double wins = 0;
  for (const double p : positive)
    for (const double n : negative) wins += p > n ? 1.0 : p == n ? 0.5 : 0.0;
  const double pairs = static_cast<double>(positive.size() * negative.size());
  return pairs > 0 ? wins / pairs : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace headlight::analysis
