#include "app/cli/report_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace headlight::cli {
namespace {

using analysis::Series;
using analysis::Table;

constexpr std::size_t kShownValues = 8, kShownLargest = 5, kShownRows = 12, kCellWidth = 28;

std::string number_text(double value) {
  return std::isnan(value) ? "-" : fmt::format("{:.4g}", value);
}

std::string cell_text(const Json& cell) {
  if (cell.is_null()) return "-";
  if (cell.is_number_float()) return number_text(cell.get<double>());
  return cell.is_string() ? cell.get<std::string>() : dump_json(cell, -1);
}

/// "L14H3" or "layer 2, key 17": where a value of a series is.
std::string place_text(const Series& series, std::size_t at, const std::vector<int>& layers) {
  std::vector<std::size_t> index(series.shape.size());
  for (std::size_t axis = series.shape.size(); axis-- > 0;) {
    const auto size = static_cast<std::size_t>(series.shape[axis]);
    index[axis] = at % size;
    at /= size;
  }
  std::string text;
  for (std::size_t axis = 0; axis < index.size(); ++axis) {
    const bool is_layer = series.axes[axis] == "layer" && index[axis] < layers.size();
    const auto number = is_layer ? static_cast<std::size_t>(layers[index[axis]]) : index[axis];
    if (is_layer && axis + 1 < index.size() &&
        (series.axes[axis + 1] == "head" || series.axes[axis + 1] == "kv_head")) {
      text += fmt::format("{}L{}{}{}", text.empty() ? "" : ", ", number, series.axes[axis + 1] == "head" ? "H" : "G",
                          index[axis + 1]);
      ++axis;
    } else {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", series.axes[axis], number);
    }
  }
  return text;
}

std::string series_text(const Series& series, const std::vector<int>& layers) {
  std::string name = series.id;
  for (std::size_t axis = 0; axis < series.axes.size(); ++axis)
    name += fmt::format("{}{} {}", axis == 0 ? " [" : ", ", series.axes[axis], series.shape[axis]);
  if (!series.axes.empty()) name += "]";
  std::string text = fmt::format("  {:<34} {:>5}  ", name, series.unit);
  std::vector<std::size_t> order;
  for (std::size_t at = 0; at < series.values.size(); ++at)
    if (!std::isnan(series.values[at])) order.push_back(at);
  if (series.values.size() <= kShownValues) {
    for (const double value : series.values) text += number_text(value) + " ";
    return text + "\n";
  }
  if (order.empty()) return text + "undefined everywhere\n";
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return series.values[a] > series.values[b]; });
  double sum = 0.0;
  for (const std::size_t at : order) sum += series.values[at];
  text += fmt::format("{} to {}, mean {}", number_text(series.values[order.back()]),
                      number_text(series.values[order.front()]), number_text(sum / static_cast<double>(order.size())));
  text += "; largest";
  for (std::size_t n = 0; n < std::min(kShownLargest, order.size()); ++n)
    text += fmt::format("{} {} {}", n == 0 ? "" : ",", place_text(series, order[n], layers),
                        number_text(series.values[order[n]]));
  return text + "\n";
}

std::string table_text(const Table& table) {
  std::vector<std::vector<std::string>> cells = {table.columns};
  for (std::size_t r = 0; r < std::min(kShownRows, table.rows.size()); ++r) {
    cells.emplace_back();
    for (const Json& cell : table.rows[r]) {
      std::string text = cell_text(cell);
      if (text.size() > kCellWidth) text = text.substr(0, kCellWidth - 2) + "..";
      cells.back().push_back(std::move(text));
    }
  }
  std::vector<std::size_t> width(table.columns.size(), 0);
  for (const auto& row : cells)
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  std::string text = fmt::format("  {} ({} rows)\n", table.title, table.rows.size());
  for (const auto& row : cells) {
    text += "   ";
    for (std::size_t c = 0; c < row.size(); ++c) text += fmt::format(" {:>{}}", row[c], width[c]);
    text += "\n";
  }
  if (table.rows.size() > kShownRows) text += fmt::format("    ... {} more\n", table.rows.size() - kShownRows);
  return text;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string report_text(const analysis::Analysis& analysis, const analysis::AnalysisReport& report,
                        const std::vector<int>& layers) {
  std::string text = fmt::format("{}: {}\n", analysis.id, analysis.title);
  std::string params;
  for (const auto& [name, value] : report.params.items())
    params += fmt::format("{}{}={}", params.empty() ? "" : " ", name, cell_text(value));
  if (!params.empty()) text += fmt::format("  {}\n", params);
  for (const Series& series : report.series) text += series_text(series, layers);
  for (const Table& table : report.tables) text += table_text(table);
  for (const std::string& note : report.notes) text += fmt::format("  note: {}\n", note);
  return text;
}

std::string table_csv(const Table& table) {
  std::string text;
  for (std::size_t c = 0; c < table.columns.size(); ++c) text += (c == 0 ? "" : ",") + csv_cell(table.columns[c]);
  text += "\n";
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const bool is_number = row[c].is_number_float() && std::isfinite(row[c].get<double>());
      text += (c == 0 ? "" : ",") + (row[c].is_null() ? "" : is_number ? row[c].dump() : csv_cell(cell_text(row[c])));
    }
    text += "\n";
  }
  return text;
}

std::string describe(const analysis::Analysis& analysis) {
  std::vector<std::string_view> needs;
  for (const analysis::Need need : analysis.needs) needs.push_back(analysis::to_string(need));
  std::string text = fmt::format("{:<24} {}\n{:<24} {}; needs {}{}\n", analysis.id, analysis.title, "",
                                 analysis.summary, fmt::join(needs, ", "), analysis.by_default ? "" : "; on demand");
  const Json json = analysis::to_json(analysis);
  for (const Json& p : json["parameters"])
    text += fmt::format("{:<26} {}.{} = {}: {} ({})\n", "", analysis.id, p["name"].get<std::string>(),
                        cell_text(p["default"]), p["doc"].get<std::string>(), p["expected"].get<std::string>());
  return text;
}

std::string findings_text(const std::vector<analysis::Finding>& findings) {
  std::string text;
  for (const analysis::Finding& finding : findings) {
    text += fmt::format("{} {}\n", finding.nothing_found ? "-" : "*", finding.statement);
    std::string names;
    for (const heads::HeadId& head : finding.evidence.heads) names += " " + heads::to_string(head);
    text += fmt::format("    {}{}[{} {}{}]\n", finding.meaning, finding.meaning.empty() ? "" : " ",
                        finding.evidence.analysis, finding.evidence.series, names);
  }
  return text;
}

}  // namespace headlight::cli
