#include "analysis/findings/findings.h"

#include <algorithm>

#include "analysis/findings/rules.h"
#include "analysis/record_shape.h"

namespace headlight::analysis {

const std::vector<FindingRule>& finding_rules() {
  static const std::vector<FindingRule> all = {
      {"first-token-heads", "mean attention to the first token >= 0.5; nothing found: no head reaches 0.3",
       rules::first_token_heads},
      {"streaming-heads", "first S and last W tokens hold >= 0.95 of the attention, in texts of more than 2 W tokens",
       rules::streaming_heads},
      {"previous-token-heads", "mean attention to the previous token >= 0.4, strong from 0.9",
       rules::previous_token_heads},
      {"own-token-heads", "mean attention to the token itself >= 0.4, strong from 0.9", rules::own_token_heads},
      {"content-heads", "mean largest weight >= 0.5 while first, previous and own token together hold < 0.3",
       rules::content_heads},
      {"uniform-heads", "mean entropy >= 0.9 of its maximum", rules::uniform_heads},
      {"far-looking-heads", "first token < 0.2 and mean distance >= a third of the mean possible distance",
       rules::far_looking_heads},
      {"layer-entropy", "mean entropy of the layers, lowest against highest, differ by >= 1 nat", rules::layer_entropy},
      {"later-sinks",
       "a key behind the first S tokens receives >= 0.1 on average, of at least 8 rows and an eighth of the text",
       rules::later_sinks},
      {"long-first-state", "norm of the first token's state >= 10 times the median of its level",
       rules::long_first_state},
      {"drained-sink", "share of the first token weighted by what it carries <= half of its raw share",
       rules::drained_sink},
      {"similar-heads", "outputs of two heads of a layer with alignment >= 0.95", rules::similar_heads},
      {"last-token-sources",
       "tokens with the largest rollout to the last row; nothing found: the first S hold > 0.9 of it",
       rules::last_token_sources},
      {"planned-roles", "roles of the headplan", rules::planned_roles},
  };
  return all;
}

std::vector<Finding> findings(const FindingsInput& input, std::stop_token stop) {
  std::vector<Finding> all;
  for (const FindingRule& rule : finding_rules()) {
    check_stop(stop);
    for (Finding& finding : rule.apply(input)) {
      finding.rule = rule.id;
      finding.evidence.record = input.record;
      all.push_back(std::move(finding));
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Finding& a, const Finding& b) {
    return a.nothing_found != b.nothing_found ? b.nothing_found : a.weight > b.weight;
  });
  return all;
}

Json to_json(const Finding& finding) {
  Json names = Json::array();
  for (const heads::HeadId& head : finding.evidence.heads) names.push_back(heads::to_string(head));
  return {{"rule", finding.rule},
          {"weight", finding.weight},
          {"nothing_found", finding.nothing_found},
          {"statement", finding.statement},
          {"meaning", finding.meaning},
          {"evidence",
           {{"analysis", finding.evidence.analysis},
            {"series", finding.evidence.series},
            {"heads", std::move(names)},
            {"tokens", finding.evidence.tokens},
            {"record", finding.evidence.record}}}};
}

const Series* find_series(std::span<const AnalysisReport> reports, std::string_view analysis, std::string_view series) {
  for (const AnalysisReport& report : reports)
    for (const Series& one : report.series)
      if (report.id == analysis && one.id == series) return &one;
  return nullptr;
}

const Table* find_table(std::span<const AnalysisReport> reports, std::string_view analysis, std::string_view table) {
  for (const AnalysisReport& report : reports)
    for (const Table& one : report.tables)
      if (report.id == analysis && one.id == table) return &one;
  return nullptr;
}

}  // namespace headlight::analysis
