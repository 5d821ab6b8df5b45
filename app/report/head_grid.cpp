#include "app/report/head_grid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "app/figure/color_map.h"
#include "app/figure/value_scale.h"
#include "app/report/html.h"
#include "base/error.h"
#include "core/capture/statistics.h"

namespace headlight::report {
namespace {

constexpr double kWidth = 400.0, kLeft = 30.0, kTop = 4.0, kBottom = 30.0, kGroupGap = 3.0;
constexpr std::array<const char*, 10> kLabelColors = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b",
                                                      "#3f8fbf", "#7f5fc7", "#a0522d", "#4d7c0f", "#6e7781"};

std::string hex(figure::Rgb color) {
  return fmt::format("#{:02x}{:02x}{:02x}", color.red, color.green, color.blue);
}

figure::Rgb color_at(const figure::ValueScale& scale, double value) {
  const auto& table = figure::color_table(figure::ColorMap::viridis);
  return table[static_cast<std::size_t>(std::clamp(scale.position(value), 0.0, 1.0) * 255.0)];
}

struct Layout {
  double cell_width, cell_height, gap;

  explicit Layout(const HeadGrid& grid) {
    const int groups = grid.heads_per_group > 1 ? (grid.num_heads - 1) / grid.heads_per_group : 0;
    gap = grid.heads_per_group > 1 ? kGroupGap : 0.0;
    cell_width = (kWidth - kLeft - 1.0 - groups * gap) / grid.num_heads;
    cell_height = std::clamp(480.0 / static_cast<double>(grid.layers.size()), 6.0, 18.0);
  }
  double x(const HeadGrid& grid, int head) const {
    return kLeft + head * cell_width + (gap > 0.0 ? head / grid.heads_per_group * gap : 0.0);
  }
  double y(std::size_t row) const { return kTop + static_cast<double>(row) * cell_height; }
  double height(const HeadGrid& grid) const { return y(grid.layers.size()) + kBottom; }
  bool shows_numbers() const { return cell_width >= 26.0 && cell_height >= 11.0; }
};

std::string cell_rect(const HeadGrid& grid, const Layout& layout, std::size_t row, int head, const std::string& fill,
                      const std::string& says) {
  return fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"><title>{}: {}</title></rect>",
      layout.x(grid, head), layout.y(row), layout.cell_width - 1.0, layout.cell_height - 1.0, fill,
      capture::head_name(grid.layers[row], head), says);
}

std::string cell_number(const HeadGrid& grid, const Layout& layout, std::size_t row, int head, const std::string& text,
                        bool dark_cell) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" fill=\"{}\">{}</text>",
                     layout.x(grid, head) + layout.cell_width / 2, layout.y(row) + layout.cell_height / 2 + 3.0,
                     dark_cell ? "#fff" : "#000", text);
}

std::string value_cells(const HeadGrid& grid, const Layout& layout, const figure::ValueScale& scale) {
  std::string out;
  for (std::size_t row = 0; row < grid.layers.size(); ++row)
    for (int h = 0; h < grid.num_heads; ++h) {
      const double value = grid.value_lh[row * static_cast<std::size_t>(grid.num_heads) + static_cast<std::size_t>(h)];
      if (std::isnan(value)) {
        out += cell_rect(grid, layout, row, h, "var(--panel)", "not defined");
        continue;
      }
      const auto color = color_at(scale, value);
      out += cell_rect(grid, layout, row, h, hex(color), number_text(value));
      if (layout.shows_numbers())
        out += cell_number(grid, layout, row, h,
                           scale.high > 9.0 ? fmt::format("{:.0f}", value) : fmt::format("{:.2f}", value),
                           figure::lightness(color) < 58.0);
    }
  return out;
}

std::string axes(const HeadGrid& grid, const Layout& layout) {
  std::string out;
  const auto every = static_cast<std::size_t>(std::ceil(11.0 / layout.cell_height));
  for (std::size_t row = 0; row < grid.layers.size(); row += every)
    out += fmt::format("<text class=\"a\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 4.0,
                       layout.y(row) + layout.cell_height / 2 + 3.0, grid.layers[row]);
  const int step = static_cast<int>(std::ceil(18.0 / layout.cell_width));
  const double below = layout.y(grid.layers.size());
  for (int h = 0; h < grid.num_heads; h += step)
    out += fmt::format("<text class=\"a\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                       layout.x(grid, h) + layout.cell_width / 2, below + 11.0, h);
  out += fmt::format("<text class=\"a\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">head</text>",
                     (kWidth + kLeft) / 2, below + 25.0);
  out +=
      fmt::format("<text class=\"a\" transform=\"translate(9 {:.1f}) rotate(-90)\" text-anchor=\"middle\">layer</text>",
                  (kTop + below) / 2);
  return out;
}

std::string color_bar(const figure::ValueScale& scale) {
  std::string stops;
  for (int n = 0; n <= 10; ++n)
    stops +=
        fmt::format("{}{}", n == 0 ? "" : ",", hex(color_at(scale, scale.low + (scale.high - scale.low) * n / 10.0)));
  return fmt::format(
      "<div class=\"bar\"><span>{}</span><b style=\"background:linear-gradient(to "
      "right,{})\"></b><span>{}</span></div>",
      figure::format_value(scale.low), stops, figure::format_value(scale.high));
}

std::string figure_of(const HeadGrid& grid, const Layout& layout, const std::string& legend, const std::string& cells) {
  return fmt::format(
      "<figure class=\"grid\"><figcaption><b>{}</b> <span>{}</span></figcaption>{}<svg viewBox=\"0 0 {:.0f} {:.0f}\" "
      "role=\"img\" aria-label=\"{}\">{}{}</svg></figure>\n",
      html_text(grid.title), html_text(grid.caption), legend, kWidth, layout.height(grid), html_text(grid.title), cells,
      axes(grid, layout));
}

std::string label_grid(const HeadGrid& grid, const Layout& layout) {
  std::map<std::string, std::size_t> count;
  for (const std::string& label : grid.label_lh)
    if (!label.empty()) ++count[label];
  std::map<std::string, std::string> color;
  std::string legend = "<div class=\"key\">";
  for (const auto& [label, heads] : count) {
    color[label] = kLabelColors[color.size() % kLabelColors.size()];
    legend += fmt::format("<span><i style=\"background:{}\"></i>{} {}</span>", color[label], html_text(label), heads);
  }
  std::string cells;
  for (std::size_t row = 0; row < grid.layers.size(); ++row)
    for (int h = 0; h < grid.num_heads; ++h) {
      const auto& label = grid.label_lh[row * static_cast<std::size_t>(grid.num_heads) + static_cast<std::size_t>(h)];
      cells += cell_rect(grid, layout, row, h, label.empty() ? "var(--panel)" : color[label],
                         label.empty() ? "no role" : html_text(label));
    }
  return figure_of(grid, layout, legend + "</div>", cells);
}

}  // namespace

std::string html_grid(const HeadGrid& grid) {
  const auto cells = grid.layers.size() * static_cast<std::size_t>(grid.num_heads);
  HEADLIGHT_CHECK(cells > 0 && (grid.label_lh.empty() ? grid.value_lh.size() : grid.label_lh.size()) == cells);
  const Layout layout(grid);
  if (!grid.label_lh.empty()) return label_grid(grid, layout);
  const std::vector<float> values(grid.value_lh.begin(), grid.value_lh.end());
  const auto scale = figure::choose_scale(values, values, {.mode = figure::RangeMode::automatic});
  return figure_of(grid, layout, color_bar(scale), value_cells(grid, layout, scale));
}

}  // namespace headlight::report
