#pragma once

#include <string>
#include <vector>

namespace headlight::report {

/// One value or one word per head, drawn as an inline SVG that takes its words' colours from the page.
struct HeadGrid {
  std::string title, caption;  ///< plain text
  std::vector<int> layers;     ///< number of each row
  int num_heads = 0, heads_per_group = 1;
  std::vector<double> value_lh;       ///< [rows][num_heads], NaN = undefined; empty when there are labels
  std::vector<std::string> label_lh;  ///< [rows][num_heads], "" = none
};

/// <figure> with the grid, a colour bar (values) or a list of colours (labels); every cell says its head and value.
std::string html_grid(const HeadGrid& grid);

}  // namespace headlight::report
