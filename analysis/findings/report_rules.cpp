// Rules that read reports of analyses, facts about hidden states, or a headplan.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "analysis/findings/rule_support.h"
#include "analysis/findings/rules.h"
#include "base/error.h"

namespace headlight::analysis::rules {
namespace {

// "norm_l2" of every level and token, [L + 1][N]; empty when the capture has none.
std::vector<float> state_norms(const FindingsInput& input) {
  try {
    const auto norms = input.capture.hidden(input.record, "norm_l2");
    return {norms.begin(), norms.end()};
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;
    return {};
  }
}

double median(std::vector<float> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values.empty() ? kUndefined : values[values.size() / 2];
}

}  // namespace

std::vector<Finding> long_first_state(const FindingsInput& input) {
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto norm = state_norms(input);
  const std::int64_t n = shape.num_rows, levels = std::ssize(norm) / std::max<std::int64_t>(n, 1);
  if (levels < 2 || n < 8) return {};
  double most = 0.0;
  std::int64_t level_of_most = 0, from = -1, to = -1;
  for (std::int64_t level = 0; level < levels; ++level) {
    const double middle = median({norm.begin() + level * n, norm.begin() + (level + 1) * n});
    const double ratio = middle > 0.0 ? norm[level * n + shape.first_key] / middle : 0.0;
    if (ratio > most) {
      most = ratio;
      level_of_most = level;
    }
    if (ratio >= 10.0) {
      if (from < 0) from = level;
      to = level;
    }
  }
  Finding finding;
  finding.evidence = {
      .analysis = "statistics", .series = "norm_l2", .heads = {}, .tokens = {shape.first_key}, .record = 0};
  if (from < 0) {
    finding.nothing_found = true;
    finding.statement = fmt::format(
        "The state of the first token is not out of proportion: at most {:.1f} times the median (level {}).", most,
        level_of_most);
    finding.meaning = "No massive activation at the first token.";
    return {std::move(finding)};
  }
  finding.weight = std::min(0.9, 0.4 + 0.1 * std::log10(most));
  finding.statement = fmt::format(
      "The state of the first token {} is up to {:.0f} times as long as the median (level {}), and at "
      "least 10 times from level {} to {}.",
      quoted_token(input, shape.first_key), most, level_of_most, from, to);
  finding.meaning = "Massive activations go with sinks: after normalisation that token looks the same to every layer.";
  return {std::move(finding)};
}

std::vector<Finding> drained_sink(const FindingsInput& input) {
  const Series* raw = find_series(input.reports, "norm-weighted", "first_raw");
  const Series* weighted = find_series(input.reports, "norm-weighted", "first_weighted");
  if (raw == nullptr || weighted == nullptr) return {};
  const RecordShape shape = record_shape(input.capture, input.record);
  const double raw_mean = mean_defined(raw->values), weighted_mean = mean_defined(weighted->values);
  std::vector<double> drop(raw->values.size());
  for (std::size_t c = 0; c < drop.size(); ++c) drop[c] = raw->values[c] - weighted->values[c];
  const auto cells = ranked(drop, [](double v) { return v >= 0.3; });
  Finding finding;
  finding.evidence = {.analysis = "norm-weighted",
                      .series = "first_weighted",
                      .heads = head_ids(shape, cells),
                      .tokens = {shape.first_key},
                      .record = 0};
  const std::string both =
      fmt::format("{} of the attention, {} of what the heads write", percent(raw_mean), percent(weighted_mean));
  if (raw_mean < 0.1) return {};
  if (weighted_mean > 0.5 * raw_mean) {
    finding.nothing_found = true;
    finding.statement = fmt::format("The first token is not drained: it accounts for {}.", both);
    finding.meaning = "Attention to it moves the residual stream about as much as attention elsewhere.";
    return {std::move(finding)};
  }
  finding.weight = 0.5 + 0.4 * (raw_mean - weighted_mean);
  finding.statement = fmt::format("The first token is drained: it accounts for {}{}.", both,
                                  cells.empty() ? "" : fmt::format(" (most in {})", name_list(shape, cells)));
  finding.meaning =
      "Its values are short, so looking at it means writing next to nothing: raw attention overstates it.";
  return {std::move(finding)};
}

std::vector<Finding> similar_heads(const FindingsInput& input) {
  const Series* cka = find_series(input.reports, "output-cka", "output_cka");
  if (cka == nullptr) return {};
  const RecordShape shape = record_shape(input.capture, input.record);
  const auto heads = static_cast<std::size_t>(shape.num_heads);
  std::vector<double> pair(cka->values.size(), kUndefined);  // [L][H][H], a < b only
  for (std::size_t at = 0; at < pair.size(); ++at)
    if (at / heads % heads < at % heads) pair[at] = cka->values[at];
  const auto found = ranked(pair, [](double v) { return v >= 0.95; });
  const auto all = ranked(pair, [](double) { return true; });
  if (all.empty()) return {};
  const auto names = [&](std::size_t at) {
    const std::size_t layer = at / (heads * heads);
    return fmt::format("{} and {} ({:.2f})", cell_name(shape, layer * heads + at / heads % heads),
                       cell_name(shape, layer * heads + at % heads), pair[at]);
  };
  Finding finding;
  finding.evidence = {.analysis = "output-cka", .series = "output_cka", .heads = {}, .tokens = {}, .record = 0};
  if (found.empty()) {
    finding.nothing_found = true;
    finding.statement = fmt::format("No two heads of a layer write the same: the closest are {}.", names(all[0]));
    finding.meaning = "Linear alignment of outputs; below 0.95 heads are not interchangeable.";
    return {std::move(finding)};
  }
  std::string text;
  for (std::size_t n = 0; n < std::min<std::size_t>(found.size(), 3); ++n)
    text += (n == 0 ? "" : ", ") + names(found[n]);
  for (std::size_t n = 0; n < std::min<std::size_t>(found.size(), 6); ++n) {
    const std::size_t base = found[n] / (heads * heads) * heads;
    const std::size_t cells[] = {base + found[n] / heads % heads, base + found[n] % heads};
    for (const auto& id : head_ids(shape, cells)) finding.evidence.heads.push_back(id);
  }
  finding.weight = std::min(0.8, 0.4 + 0.02 * static_cast<double>(found.size()));
  finding.statement = fmt::format("{} of heads within a layer write nearly the same up to a rotation: {}{}.",
                                  found.size() == 1 ? "One pair" : fmt::format("{} pairs", found.size()), text,
                                  found.size() > 3 ? ", ..." : "");
  finding.meaning = "Candidates for sharing or pruning; on one text only, and alignment is not identity.";
  return {std::move(finding)};
}

std::vector<Finding> last_token_sources(const FindingsInput& input) {
  const Series* rollout = find_series(input.reports, "rollout", "rollout");
  if (rollout == nullptr || rollout->shape.empty()) return {};
  const RecordShape shape = record_shape(input.capture, input.record);
  const std::int64_t last = shape.num_rows - 1, begin = shape.first_key + input.capture.header().plan.sink_size;
  if (last - begin < 8) return {};
  const std::span<const double> attr_j(rollout->values.data() + rollout->values.size() - shape.num_rows,
                                       shape.num_rows);
  double first = 0.0;
  std::vector<double> rest(attr_j.begin(), attr_j.end());
  for (std::int64_t j = shape.first_key; j < begin; ++j) {
    first += attr_j[j];
    rest[j] = kUndefined;
  }
  rest[last] = kUndefined;
  const auto cells = ranked(rest, [](double) { return true; });
  if (cells.size() < 3) return {};
  Finding finding;
  finding.evidence = {.analysis = "rollout", .series = "rollout", .heads = {}, .tokens = {}, .record = 0};
  if (first > 0.9) {
    finding.nothing_found = true;
    finding.statement = fmt::format(
        "Followed through all layers, {} of the last token ends at the first {} tokens: rollout tells "
        "no sources.",
        percent(first), begin - shape.first_key);
    finding.meaning = "Sinks swallow rollout; rollout.drop_sink takes them out.";
    return {std::move(finding)};
  }
  std::string text;
  for (std::size_t n = 0; n < 3; ++n) {
    const auto j = static_cast<std::int64_t>(cells[n]);
    finding.evidence.tokens.push_back(j);
    text += fmt::format("{}{} at {} ({})", n == 0 ? "" : ", ", quoted_token(input, j), j, percent(attr_j[j]));
  }
  finding.weight = 0.3;
  finding.statement =
      fmt::format("Followed through all layers, the last token {} goes back to the first tokens ({}) and to {}.",
                  quoted_token(input, last), percent(first), text);
  finding.meaning = "Rollout treats heads alike and ignores values: a hint where to look, not a proof of use.";
  return {std::move(finding)};
}

std::vector<Finding> planned_roles(const FindingsInput& input) {
  if (input.headplan == nullptr) return {};
  std::map<std::string, std::vector<heads::HeadId>> by_role;
  const auto labels = input.headplan->effective_labels();
  const auto& grid = input.headplan->model.grid;
  for (std::size_t c = 0; c < labels.size(); ++c)
    if (!labels[c].empty())
      by_role[labels[c].front()].push_back(
          {static_cast<int>(c) / grid.num_heads, static_cast<int>(c) % grid.num_heads});
  std::vector<Finding> out;
  for (const auto& [role, ids] : by_role) {
    Finding finding;
    finding.weight = 0.5 + 0.3 * std::sqrt(static_cast<double>(ids.size()) / static_cast<double>(grid.size()));
    std::string names;
    for (std::size_t n = 0; n < std::min<std::size_t>(ids.size(), 3); ++n)
      names += (n == 0 ? "" : ", ") + heads::to_string(ids[n]);
    finding.statement = fmt::format("{} of {} heads have the role {}: {}{}.", ids.size(), grid.size(), role, names,
                                    ids.size() > 3 ? fmt::format(" and {} more", ids.size() - 3) : "");
    finding.meaning = "From the headplan: measured there, not in this capture.";
    finding.evidence = {.analysis = "headplan", .series = role, .heads = ids, .tokens = {}, .record = 0};
    finding.evidence.heads.resize(std::min<std::size_t>(ids.size(), 12));
    out.push_back(std::move(finding));
  }
  return out;
}

}  // namespace headlight::analysis::rules
