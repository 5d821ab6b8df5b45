#include "app/report/sections.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "analysis/record_shape.h"
#include "app/figure/figure.h"
#include "app/report/head_grid.h"
#include "app/report/html.h"
#include "app/report/text_strip.h"
#include "base/error.h"
#include "core/capture/map_source.h"
#include "core/capture/statistics.h"
#include "core/formats/tokenizer.h"

namespace headlight::report {
namespace {

constexpr std::int64_t kMaxMapCells = 340;
constexpr std::size_t kMaps = 4, kRowsShown = 8, kSinksShown = 10;

std::vector<double> head_values(const ReportInput& input, std::string_view id) {
  try {
    const auto values = input.capture.head_statistic(input.record, id);
    return {values.begin(), values.end()};
  } catch (const Error& error) {
    if (error.code() != Errc::invalid_argument) throw;
    return {};
  }
}

std::string heading(const std::string& title, const std::string& under) {
  return fmt::format("<h2>{}</h2>\n{}", title, under.empty() ? "" : fmt::format("<p class=\"muted\">{}</p>\n", under));
}

std::string fact(const std::string& value, const std::string& meaning) {
  return fmt::format("<div><b>{}</b><span>{}</span></div>", value, meaning);
}

std::string evidence_text(const analysis::Finding& finding) {
  std::string text =
      fmt::format("{} &#183; {}", html_text(finding.evidence.analysis), html_text(finding.evidence.series));
  std::string names;
  for (const auto& head : finding.evidence.heads) names += (names.empty() ? "" : " ") + heads::to_string(head);
  return names.empty() ? text : text + " &#183; " + names;
}

std::string json_cell(const Json& cell) {
  if (cell.is_number()) return number_text(cell.get<double>());
  if (cell.is_null()) return "&#8211;";
  return html_text(cell.is_string() ? cell.get<std::string>() : cell.dump());
}

std::string json_table(const analysis::Table& table) {
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> numeric;
  for (std::size_t r = 0; r < std::min(table.rows.size(), kRowsShown); ++r) {
    auto& row = rows.emplace_back();
    for (const Json& cell : table.rows[r]) row.push_back(json_cell(cell));
  }
  std::vector<std::string> head;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    head.push_back(html_text(table.columns[c]));
    numeric.push_back(!table.rows.empty() && c < table.rows[0].size() && table.rows[0][c].is_number());
  }
  std::string text = fmt::format(
      "<p class=\"muted\">{}{}</p>", html_text(table.title),
      table.rows.size() > kRowsShown ? fmt::format(" (first {} of {})", kRowsShown, table.rows.size()) : "");
  return text + html_table(head, rows, numeric);
}

figure::PositionAxis axis_of(const char* title, const capture::RecordHeader& header, std::int64_t begin,
                             std::int64_t count, std::int64_t pool) {
  figure::PositionAxis axis{.title = title, .begin = begin, .step = pool};
  for (std::int64_t t = begin; pool == 1 && t < begin + count && t < std::ssize(header.tokens); ++t)
    axis.tokens.push_back(formats::display_piece(header.tokens[t].piece));
  if (std::ssize(axis.tokens) != count) axis.tokens.clear();
  return axis;
}

// Heads that the findings name first, each once, the strongest statement of each.
struct TellingHead {
  heads::HeadId head;
  std::string why;
};
std::vector<TellingHead> telling_heads(const ReportInput& input, const analysis::RecordAnalysis& content) {
  std::vector<TellingHead> chosen;
  std::set<heads::HeadId> seen;
  const auto& layers = input.capture.header().plan.layers;
  for (const auto& finding : content.findings) {
    if (finding.nothing_found || chosen.size() == kMaps) continue;
    for (const auto& head : finding.evidence.heads) {
      const auto at = std::find(layers.begin(), layers.end(), head.layer) - layers.begin();
      if (at == std::ssize(layers) || !input.capture.head_recorded(input.record, static_cast<int>(at), head.head) ||
          !seen.insert(head).second)
        continue;
      std::string why = finding.rule == "planned-roles" ? "role " + finding.evidence.series : finding.rule;
      std::replace(why.begin(), why.end(), '-', ' ');
      chosen.push_back({head, std::move(why)});
      break;
    }
  }
  return chosen;
}

std::string map_figure(const ReportInput& input, const TellingHead& telling, const std::string& prefix,
                       std::stop_token stop) {
  const auto& layers = input.capture.header().plan.layers;
  const auto at = std::find(layers.begin(), layers.end(), telling.head.layer) - layers.begin();
  const auto info = input.capture.record(input.record);
  capture::MapRequest request;
  request.tile = {info.header.first_key, info.num_rows, info.header.first_key, info.num_rows};
  request.max_cells = kMaxMapCells;
  const auto picture = capture::read_map(input.capture, {input.record, static_cast<int>(at), telling.head.head},
                                         request, input.pool, stop);
  figure::MapFigure map;
  map.rows = picture.rows;
  map.cols = picture.cols;
  map.attn_yx.assign(picture.attn_yx.begin(), picture.attn_yx.end());
  map.visible_yx.assign(picture.visible_yx.begin(), picture.visible_yx.end());
  map.query = axis_of("query", info.header, picture.tile.row_begin, picture.rows, picture.pool);
  map.key = axis_of("key", info.header, picture.tile.col_begin, picture.cols, picture.pool);
  map.range = {
      .low = 0.0, .high = 1.0, .kind = figure::ScaleKind::power, .gamma = 1.0 / 3.0};  // one scale for all maps
  if (picture.pool > 1) map.value_label = "attention (maximum)";
  const std::string name = heads::to_string(telling.head);
  const std::string note =
      picture.pool > 1 ? fmt::format(", each cell the maximum of {0} &#215; {0} pairs", picture.pool) : "";
  const std::string badge = picture.source == capture::MapSource::sampled ? ", sampled" : "";
  return fmt::format("<figure><figcaption><b>{}</b> <span>{}{}{}</span></figcaption>{}</figure>\n", name,
                     html_text(telling.why), note, badge, figure::page_svg(map, 500.0, prefix));
}

}  // namespace

std::string title_section(const ReportInput& input) {
  const auto& header = input.capture.header();
  const auto info = input.capture.record(input.record);
  std::string out = fmt::format(
      "<h1>Attention heads of {}</h1>\n<p class=\"muted\">{} tokens, {} of {} layers, {} heads each{}; captured "
      "{}{}</p>\n",
      html_text(header.model.name), info.num_rows, header.plan.layers.size(), header.model.num_layers,
      header.model.num_heads,
      header.model.num_kv_heads < header.model.num_heads ? fmt::format(" ({} KV heads)", header.model.num_kv_heads)
                                                         : "",
      html_text(header.provenance.started),
      input.capture.num_records() > 1 ? fmt::format("; record {} of {}", input.record, input.capture.num_records())
                                      : "");
  const auto first = head_values(input, "first"), entropy = head_values(input, "entropy"),
             distance = head_values(input, "distance"), pmax = head_values(input, "pmax");
  if (first.empty() || entropy.empty() || distance.empty() || pmax.empty()) return out;
  const auto strong = std::count_if(first.begin(), first.end(), [](double v) { return v >= 0.5; });
  out += "<div class=\"facts\">";
  out +=
      fact(fmt::format("{:.0f} %", 100.0 * analysis::mean_defined(first)), "of the attention goes to the first token");
  out += fact(fmt::format("{} of {}", strong, first.size()), "heads give it more than half");
  out +=
      fact(fmt::format("{:.2f} nat", analysis::mean_defined(entropy)),
           fmt::format("mean entropy: about {:.0f} tokens count in a row", std::exp(analysis::mean_defined(entropy))));
  out += fact(fmt::format("{:.0f} tokens", analysis::mean_defined(distance)), "mean distance looked back");
  return out + "</div>\n";
}

std::string findings_section(const analysis::RecordAnalysis& content) {
  std::string found, missing;
  for (const auto& finding : content.findings) {
    if (finding.nothing_found) {
      missing += fmt::format("<li>{} <span class=\"why\">{}</span></li>\n", html_text(finding.statement),
                             html_text(finding.meaning));
      continue;
    }
    found += fmt::format(
        "<li style=\"--w:{:.2f}\"><p class=\"say\">{}</p><p class=\"why\">{}</p><p class=\"where\">{}</p></li>\n",
        0.25 + 0.75 * finding.weight, html_text(finding.statement), html_text(finding.meaning), evidence_text(finding));
  }
  std::string out =
      heading("Findings", "Statements that rules made of the numbers, strongest first. They hold for this text.");
  out += found.empty() ? "<p>No rule found anything out of the ordinary.</p>\n"
                       : "<ol class=\"findings\">\n" + found + "</ol>\n";
  if (!missing.empty()) out += "<h3>Looked for and not found</h3>\n<ul class=\"null\">\n" + missing + "</ul>\n";
  return out;
}

std::string grids_section(const ReportInput& input) {
  struct Shown {
    const char *id, *title, *caption;
  };
  constexpr Shown kShown[] = {{"first", "Attention to the first token", "mean share over rows"},
                              {"entropy", "Entropy", "nat, mean over rows"},
                              {"distance", "Distance", "tokens looked back, mean over rows"},
                              {"pmax", "Largest weight", "mean over rows"}};
  const auto& header = input.capture.header();
  HeadGrid grid;
  grid.layers = header.plan.layers;
  grid.num_heads = header.model.num_heads;
  grid.heads_per_group = header.model.num_kv_heads > 0 ? header.model.num_heads / header.model.num_kv_heads : 1;
  std::string figures;
  if (input.headplan != nullptr) {
    HeadGrid roles = grid;
    roles.title = "Roles";
    roles.caption = "first label of each head in the headplan";
    const auto labels = input.headplan->effective_labels();
    for (const int layer : grid.layers)
      for (int h = 0; h < grid.num_heads; ++h) {
        const auto at =
            static_cast<std::size_t>(layer) * static_cast<std::size_t>(grid.num_heads) + static_cast<std::size_t>(h);
        roles.label_lh.push_back(at < labels.size() && !labels[at].empty() ? labels[at].front() : "");
      }
    figures += html_grid(roles);
  }
  for (const Shown& shown : kShown) {
    grid.value_lh = head_values(input, shown.id);
    if (grid.value_lh.empty()) continue;
    grid.title = shown.title;
    grid.caption = shown.caption;
    figures += html_grid(grid);
  }
  if (figures.empty()) return "";
  return heading("Every head", "Rows are layers, columns heads; heads that share keys stand together.") +
         "<div class=\"grids\">\n" + figures + "</div>\n";
}

std::string text_section(const ReportInput& input) {
  const auto attention = token_attention(input.capture, input.record);
  return heading("The text, by the attention it receives",
                 "Marked tokens receive more than their neighbours, mean over all heads. The first tokens are "
                 "underlined and left out, "
                 "and so are the last ones, which too few rows see.") +
         html_text_strip(input.capture, input.record, attention);
}

std::string sinks_section(const ReportInput& input) {
  const auto shape = analysis::record_shape(input.capture, input.record);
  const auto info = input.capture.record(input.record);
  struct Sink {
    double mean = 0.0, most = 0.0;
    int heads = 0;
    std::size_t cell = 0;
  };
  std::vector<Sink> sinks(shape.num_rows);
  for (int l = 0; l < shape.num_layers; ++l) {
    const auto mean_hj = input.capture.statistic(input.record, "received_mean", l);
    for (std::int64_t h = 0; h < shape.num_heads; ++h)
      for (std::int64_t j = 0; j < shape.num_rows; ++j) {
        const double value = mean_hj[h * shape.num_rows + j];
        if (std::isnan(value) || shape.geometry_l[l].visible_rows(j) < analysis::sink_min_rows(shape.num_rows))
          continue;
        Sink& sink = sinks[j];
        sink.mean += value / static_cast<double>(shape.num_cells());
        sink.heads += value >= 0.1;
        if (value > sink.most) {
          sink.most = value;
          sink.cell = l * shape.num_heads + h;
        }
      }
  }
  std::vector<std::size_t> order;
  for (std::size_t j = 0; j < sinks.size(); ++j)
    if (sinks[j].heads > 0) order.push_back(j);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sinks[a].mean > sinks[b].mean; });
  std::vector<std::vector<std::string>> rows;
  for (std::size_t n = 0; n < std::min(order.size(), kSinksShown); ++n) {
    const Sink& sink = sinks[order[n]];
    rows.push_back({fmt::format("{}", order[n]),
                    "<code>" + html_text(analysis::token_text(info.header, order[n])) + "</code>",
                    fmt::format("{:.1f} %", 100 * sink.mean), fmt::format("{}", sink.heads),
                    fmt::format("{} ({:.1f} %)", analysis::cell_name(shape, sink.cell), 100 * sink.most)});
  }
  const std::string under =
      "Keys that some head gives at least 10 % on average, by their mean over all heads. Keys that less than an eighth "
      "of the rows see are left out.";
  if (rows.empty()) return heading("Sinks", under) + "<p>There is none.</p>\n";
  return heading("Sinks", under) +
         html_table({"position", "token", "mean over heads", "heads &#8805; 10 %", "strongest head"}, rows,
                    {true, false, true, true, true});
}

std::string maps_section(const ReportInput& input, const analysis::RecordAnalysis& content, std::stop_token stop) {
  std::string figures;
  const auto chosen = telling_heads(input, content);
  for (std::size_t n = 0; n < chosen.size(); ++n) {
    try {
      figures += map_figure(input, chosen[n], fmt::format("m{}", n), stop);
    } catch (const Error& error) {  // nothing a map could be made of
      if (error.code() != Errc::invalid_argument) throw;
    }
  }
  if (figures.empty()) return "";
  return heading("Telling heads", "Row = query, column = key; the colour scale (cube root) is the same in all maps.") +
         "<div class=\"grids maps\">\n" + figures + "</div>\n";
}

std::string analyses_section(const analysis::RecordAnalysis& content) {
  std::string out =
      heading("Analyses", "What the findings rest on; <code>headlight analyze</code> writes every number.");
  for (const auto& report : content.reports) {
    const auto& analysis = analysis::require_analysis(report.id);
    out += fmt::format("<details><summary>{}</summary>\n<p>{}.</p>\n", html_text(analysis.title),
                       html_text(analysis.summary));
    std::vector<std::vector<std::string>> numbers;
    for (const auto& series : report.series)
      if (series.shape.empty())
        numbers.push_back(
            {html_text(series.id), number_text(series.values[0]), html_text(series.unit), html_text(series.formula)});
    if (!numbers.empty())
      out += html_table({"number", "value", "unit", "formula"}, numbers, {false, true, false, false});
    for (const auto& table : report.tables) out += json_table(table);
    for (const auto& note : report.notes) out += fmt::format("<p class=\"muted\">Note: {}.</p>\n", html_text(note));
    out += "</details>\n";
  }
  for (const auto& missing : content.not_available)
    out += fmt::format("<p class=\"muted\">Not available: {}</p>\n", html_text(missing));
  return out;
}

std::string formulas_section(const analysis::RecordAnalysis& content) {
  std::vector<std::vector<std::string>> rows;
  for (const char* id : {"first", "entropy", "dist1", "pmax", "received_mean", "off0", "off1"}) {
    const auto& info = capture::require_statistic(id);
    rows.push_back({html_text(info.id), html_text(info.formula), html_text(info.unit), html_text(info.source)});
  }
  for (const auto& report : content.reports) {
    const auto& analysis = analysis::require_analysis(report.id);
    for (const auto& series : report.series)
      rows.push_back({html_text(report.id + "." + series.id), html_text(series.formula), html_text(series.unit),
                      html_text(analysis.source)});
  }
  std::vector<std::vector<std::string>> rules;
  for (const auto& rule : analysis::finding_rules()) rules.push_back({html_text(rule.id), html_text(rule.condition)});
  return heading("Formulas", "A = attention of one head, i = query row, j = key; logarithms are natural.") +
         "<details><summary>Statistics and analyses</summary>\n" +
         html_table({"name", "formula", "unit", "source"}, rows, {}) +
         "</details>\n<details><summary>Rules of the findings</summary>\n" +
         html_table({"rule", "condition"}, rules, {}) + "</details>\n";
}

std::string provenance_section(const ReportInput& input) {
  const auto& header = input.capture.header();
  const auto& from = header.provenance;
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, html_text(value)});
  };
  add("model", fmt::format("{} ({}, {}, {})", header.model.name, header.model.architecture, header.model.file_format,
                           header.model.quantization));
  for (std::size_t n = 0; n < header.model.file_names.size() && n < header.model.file_sha256.size(); ++n)
    add("file", fmt::format("{}, SHA-256 {}", std::filesystem::path(header.model.file_names[n]).filename().string(),
                            header.model.file_sha256[n]));
  add("capture",
      fmt::format("{}, {}", std::filesystem::path(input.capture.name()).filename().string(), input.capture.uuid()));
  add("captured by", fmt::format("headlight {} ({}), {}", from.tool_version, from.git_commit, from.started));
  add("machine", fmt::format("{} ({}), {} threads, {}", from.cpu, from.cpu_tier, from.threads, from.compute_dtype));
  add("command", from.command_line);
  add("report by", fmt::format("headlight {}", input.tool_version));
  add("report command", input.command_line);
  return heading("Provenance", "") + html_table({"", ""}, rows, {});
}

}  // namespace headlight::report
