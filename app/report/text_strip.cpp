#include "app/report/text_strip.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "app/report/html.h"
#include "core/capture/derive.h"

namespace headlight::report {
namespace {

constexpr std::int64_t kMaxTokens = 1500, kNeighbours = 16, kMinRows = 16;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Mean over rows that see each key of 1 / n_i.
std::vector<double> even_attention(const capture::LayerGeometry& geometry) {
  const std::int64_t n = geometry.num_rows;
  std::vector<double> sum_j(static_cast<std::size_t>(n) + 1, 0.0);  // differences, then sums
  for (std::int64_t i = 0; i < n; ++i) {
    const auto keys = geometry.visible_to_rows(i, i + 1);
    if (keys.size() == 0) continue;
    sum_j[keys.begin] += 1.0 / static_cast<double>(keys.size());
    sum_j[keys.end] -= 1.0 / static_cast<double>(keys.size());
  }
  for (std::int64_t j = 1; j < n; ++j) sum_j[j] += sum_j[j - 1];
  sum_j.resize(n);
  for (std::int64_t j = 0; j < n; ++j)
    sum_j[j] /= static_cast<double>(std::max<std::int64_t>(geometry.visible_rows(j), 1));
  return sum_j;
}

// ratio_j over the median of its neighbours.
std::vector<double> against_neighbours(const std::vector<double>& ratio_j, std::int64_t begin, std::int64_t end) {
  std::vector<double> lift_j(ratio_j.size(), kNaN);
  for (std::int64_t j = begin; j < end; ++j) {
    std::vector<double> near(ratio_j.begin() + std::max(begin, j - kNeighbours),
                             ratio_j.begin() + std::min(end, j + kNeighbours + 1));
    std::nth_element(near.begin(), near.begin() + std::ssize(near) / 2, near.end());
    if (const double median = near[near.size() / 2]; median > 0.0) lift_j[j] = ratio_j[j] / median;
  }
  return lift_j;
}

// Lift at which the colour is full: the 98 % quantile, at least 2.
double full_color(const TokenAttention& attention) {
  std::vector<double> lift;
  for (const double value : attention.lift_j)
    if (std::isfinite(value)) lift.push_back(value);
  std::sort(lift.begin(), lift.end());
  return lift.empty() ? 2.0 : std::max(lift[(lift.size() - 1) * 98 / 100], 2.0);
}

}  // namespace

TokenAttention token_attention(const capture::CaptureView& view, std::int64_t record) {
  const auto info = view.record(record);
  const std::int64_t n = info.num_rows, heads = view.header().model.num_heads;
  const auto layers = std::ssize(view.header().plan.layers);
  TokenAttention out;
  out.received_j.assign(n, 0.0);
  std::vector<double> ratio_j(n, 0.0);
  for (int l = 0; l < layers; ++l) {
    const auto mean_hj = view.statistic(record, "received_mean", l);
    const auto even_j = even_attention(capture::layer_geometry(info, l));
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t j = 0; j < n; ++j) {
        const double share = mean_hj[h * n + j] / static_cast<double>(layers * heads);
        out.received_j[j] += share;
        ratio_j[j] += share / even_j[j];
      }
  }
  const std::int64_t begin = info.header.first_key + view.header().plan.sink_size;
  out.lift_j = against_neighbours(ratio_j, std::min(begin, n), std::max<std::int64_t>(n - kMinRows + 1, 0));
  return out;
}

std::string html_text_strip(const capture::CaptureView& view, std::int64_t record, const TokenAttention& attention) {
  const auto info = view.record(record);
  const std::int64_t n = std::min<std::int64_t>(info.num_rows, kMaxTokens);
  const std::int64_t begin = info.header.first_key, sinks = begin + view.header().plan.sink_size;
  const double full = std::log(full_color(attention));
  std::string out = "<div class=\"strip\">";
  for (std::int64_t j = begin; j < n; ++j) {
    const double lift = attention.lift_j[j];
    std::string says = fmt::format("token {}: {:.2f} % of each row that sees it", j, 100.0 * attention.received_j[j]);
    if (std::isfinite(lift)) says += fmt::format(", {:.1f} times its neighbours", lift);
    const std::string& piece = info.header.tokens[j].piece;
    const std::size_t space = piece.size() > 1 && piece[0] == ' ' ? 1 : 0;  // a mark does not hang on its line's end
    const std::string text = html_token(std::string_view(piece).substr(space));
    if (space > 0) out += ' ';
    const double alpha = lift > 1.0 ? std::min(std::log(lift) / full, 1.0) : 0.0;
    if (j < sinks)
      out += fmt::format("<s title=\"{}\">{}</s>", says, text);
    else
      out +=
          fmt::format("<b style=\"background:rgba(var(--heat),{:.2f})\" title=\"{}\">{}</b>", 0.7 * alpha, says, text);
  }
  if (n < info.num_rows) out += fmt::format("<i> &#8230; {} more tokens</i>", info.num_rows - n);
  return out + "</div>\n";
}

}  // namespace headlight::report
