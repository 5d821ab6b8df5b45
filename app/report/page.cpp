#include <fmt/format.h>

#include "app/report/html.h"
#include "app/report/page_style.h"
#include "app/report/report.h"
#include "app/report/sections.h"

namespace headlight::report {

std::string to_html(const ReportInput& input, const analysis::RecordAnalysis& content, std::stop_token stop) {
  const std::string title = fmt::format("Attention heads of {}", input.capture.header().model.name);
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
      "data:\">\n";
  page +=
      fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n", html_text(title), page_style());
  page += title_section(input);
  page += findings_section(content);
  page += grids_section(input);
  page += text_section(input);
  page += sinks_section(input);
  page += maps_section(input, content, stop);
  page += analyses_section(content);
  page += formulas_section(content);
  page += provenance_section(input);
  return page + "</main>\n</body>\n</html>\n";
}

}  // namespace headlight::report
