#include "analysis/findings/rule_support.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"

namespace headlight::analysis::rules {

std::vector<double> head_values(const FindingsInput& input, std::string_view statistic) {
  try {
    const auto values = input.capture.head_statistic(input.record, statistic);
    return {values.begin(), values.end()};
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;
    return {};
  }
}

std::vector<std::size_t> ranked(std::span<const double> value_lh, const std::function<bool(double)>& passes) {
  std::vector<std::size_t> cells;
  for (std::size_t c = 0; c < value_lh.size(); ++c)
    if (!std::isnan(value_lh[c]) && passes(value_lh[c])) cells.push_back(c);
  std::stable_sort(cells.begin(), cells.end(), [&](std::size_t a, std::size_t b) { return value_lh[a] > value_lh[b]; });
  return cells;
}

std::vector<heads::HeadId> head_ids(const RecordShape& shape, std::span<const std::size_t> cells) {
  std::vector<heads::HeadId> ids;
  const auto heads = static_cast<std::size_t>(shape.num_heads);
  for (const std::size_t c : cells.first(std::min<std::size_t>(cells.size(), 12)))
    ids.push_back({shape.layers[c / heads], static_cast<int>(c % heads)});
  return ids;
}

std::string name_list(const RecordShape& shape, std::span<const std::size_t> cells, std::size_t shown) {
  std::string text;
  for (std::size_t n = 0; n < std::min(cells.size(), shown); ++n)
    text += (n == 0 ? "" : n + 1 == cells.size() ? " and " : ", ") + cell_name(shape, cells[n]);
  if (cells.size() > shown) text += fmt::format(" and {} more", cells.size() - shown);
  return text;
}

std::string count_of_heads(std::size_t count, std::size_t all, const std::string& verb_plural,
                           const std::string& verb) {
  return fmt::format("{} of {} heads {}", count, all, count == 1 ? verb : verb_plural);
}

std::string percent(double share) {
  const double value = 100.0 * share;
  if (value > 99.0 && value < 99.95) return fmt::format("{:.1f} %", value);  // not quite all
  return value < 9.95 && value != 0.0 ? fmt::format("{:.1f} %", value) : fmt::format("{:.0f} %", value);
}

std::string quoted_token(const FindingsInput& input, std::int64_t position) {
  return fmt::format("'{}'", token_text(input.capture.record(input.record).header, position));
}

}  // namespace headlight::analysis::rules
