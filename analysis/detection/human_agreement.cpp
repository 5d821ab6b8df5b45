#include "analysis/detection/human_agreement.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/error.h"

namespace headlight::analysis {

SpanAgreement span_agreement(std::span<const AgreementCase> cases) {
  double precision = 0.0, recall = 0.0, humans = 0.0, models = 0.0;
  for (const AgreementCase& one : cases) {
    humans += static_cast<double>(one.human.size());
    models += static_cast<double>(one.model.size());
    for (const CharacterSpan& h : one.human)
      for (const CharacterSpan& m : one.model) {
        const auto common =
            static_cast<double>(std::max<std::int64_t>(std::min(h.end, m.end) - std::max(h.begin, m.begin), 0));
        if (common == 0.0) continue;
        precision += common / static_cast<double>(m.end - m.begin);
        recall += common / static_cast<double>(h.end - h.begin);
      }
  }
  SpanAgreement out;
  out.precision = models > 0 ? precision / models : 0.0;
  out.recall = humans > 0 ? recall / humans : 0.0;
  const double sum = out.precision + out.recall;
  out.f1 = sum > 0 ? 2.0 * out.precision * out.recall / sum : 0.0;
  return out;
}

double krippendorff_alpha(std::span<const int> first, std::span<const int> second) {
  HEADLIGHT_CHECK(first.size() == second.size());
  std::map<int, double> total;
  double disagree = 0.0;
  for (std::size_t u = 0; u < first.size(); ++u) {
    ++total[first[u]];
    ++total[second[u]];
    if (first[u] != second[u]) disagree += 2.0;  // both ordered pairs
  }
  const double n = 2.0 * static_cast<double>(first.size());
  double expected = 0.0;
  for (const auto& [c, count_c] : total)
    for (const auto& [k, count_k] : total)
      if (c != k) expected += count_c * count_k / (n - 1.0);
  return expected > 0.0 ? 1.0 - disagree / expected : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace headlight::analysis
