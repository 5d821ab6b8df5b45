#include "app/report/html.h"

#include <cmath>

#include <fmt/format.h>

#include "core/formats/tokenizer.h"

namespace headlight::report {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    out += escaped(formats::display_piece(text.substr(begin, end - begin)));
    if (end < text.size()) out += ' ';
    begin = end + 1;
  }
  return out;
}

std::string html_token(std::string_view piece) {
  std::string out;
  for (std::size_t begin = 0; begin <= piece.size();) {
    const std::size_t end = std::min(piece.find('\n', begin), piece.size());
    out += html_text(piece.substr(begin, end - begin));
    if (end < piece.size()) out += "<i>&#8629;</i><br>";
    begin = end + 1;
  }
  return out;
}

std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                       const std::vector<bool>& numeric) {
  const auto cell = [&](const char* tag, std::size_t column, const std::string& text) {
    const bool right = column < numeric.size() && numeric[column];
    return fmt::format("<{}{}>{}</{}>", tag, right ? " class=\"n\"" : "", text, tag);
  };
  std::string out = "<div class=\"scroll\"><table><thead><tr>";
  for (std::size_t c = 0; c < head.size(); ++c) out += cell("th", c, head[c]);
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) out += cell("td", c, row[c]);
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string number_text(double value) {
  if (std::isnan(value)) return "&#8211;";
  if (value == std::round(value) && std::abs(value) < 1e6) return fmt::format("{:.0f}", value);
  if (std::abs(value) >= 100.0) return fmt::format("{:.0f}", value);
  if (std::abs(value) >= 10.0) return fmt::format("{:.1f}", value);
  if (std::abs(value) < 0.001) return fmt::format("{:.1e}", value);
  return fmt::format("{:.3f}", value);
}

}  // namespace headlight::report
