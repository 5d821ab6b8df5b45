#include "app/report/report.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/report/head_grid.h"
#include "app/report/html.h"
#include "app/report/text_strip.h"
#include "tests/analysis/planted_capture.h"

namespace headlight::report {
namespace {

using analysis::PlantedRecord;
using testing::HasSubstr;
using testing::Not;

std::string page_of(const PlantedRecord& record, const heads::Headplan* plan = nullptr) {
  capture::MemoryCapture capture;
  analysis::write_capture({record}, capture);
  ThreadPool pool(2);
  const ReportInput input{capture, 0, plan, "0.0", "headlight report", pool};
  return to_html(input, analysis::analyze_record({capture, 0, pool}, plan));
}

std::int64_t count(const std::string& text, const std::string& what) {
  std::int64_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(Html, EscapesWhatCouldBeMarkup) {
  EXPECT_EQ(html_text("<script>alert(\"1\")&'"), "&lt;script&gt;alert(&quot;1&quot;)&amp;&#39;");
  EXPECT_EQ(html_text("a b  c"), "a b  c");
  EXPECT_EQ(html_text("\xff"), "&lt;0xFF&gt;") << "ill-formed bytes";
  EXPECT_EQ(html_text("\xE2\x80\xAE"), "&lt;U+202E&gt;") << "a mark that reverses text";
  EXPECT_THAT(html_text(std::string("\x00\x1b", 2)), Not(HasSubstr("\x1b")));
  EXPECT_EQ(html_token("a\nb"), "a<i>&#8629;</i><br>b");
}

TEST(Html, Numbers) {
  EXPECT_EQ(number_text(0.1234), "0.123");
  EXPECT_EQ(number_text(12.345), "12.3");
  EXPECT_EQ(number_text(4096), "4096");
  EXPECT_EQ(number_text(1e-5), "1.0e-05");
  EXPECT_EQ(number_text(NAN), "&#8211;");
}

TEST(TokenAttention, EvenAttentionHasLiftOne) {
  PlantedRecord even(1, 1, 60), sink(1, 1, 60), peak(1, 1, 60);
  even.spread(0, 0);
  peak.spread(0, 0);
  for (std::int64_t i = 20; i < 60; ++i) peak.set(0, 0, i, 20, 1.0 / static_cast<double>(i + 1));
  const auto of = [](const PlantedRecord& record) {
    capture::MemoryCapture capture;
    analysis::write_capture({record}, capture);
    return token_attention(capture, 0);
  };
  const auto attention = of(even);
  for (std::int64_t j = 0; j < 60; ++j) {
    if (j >= 4 && j < 45) {
      EXPECT_NEAR(attention.lift_j[j], 1.0, 1e-5) << j;
    } else {
      EXPECT_TRUE(std::isnan(attention.lift_j[j])) << "first tokens, and keys that few rows see: " << j;
    }
  }
  EXPECT_NEAR(of(sink).received_j[0], 1.0, 1e-6);
  EXPECT_NEAR(of(peak).lift_j[20], 2.0, 1e-5) << "twice the attention of its neighbours";
}

TEST(HeadGrid, EveryCellSaysItsHead) {
  HeadGrid grid;
  grid.title = "first <b>";
  grid.layers = {3, 7};
  grid.num_heads = 2;
  grid.value_lh = {0.1, 0.9, NAN, 0.5};
  const std::string html = html_grid(grid);
  EXPECT_THAT(html, HasSubstr("<title>L3H1: 0.900</title>"));
  EXPECT_THAT(html, HasSubstr("<title>L7H0: not defined</title>"));
  EXPECT_THAT(html, HasSubstr("first &lt;b&gt;"));
  grid.value_lh.clear();
  grid.label_lh = {"sink", "", "sink", "<i>"};
  const std::string labels = html_grid(grid);
  EXPECT_THAT(labels, HasSubstr("sink 2"));
  EXPECT_THAT(labels, Not(HasSubstr("<i>:")));
}

TEST(Report, HoldsEverySection) {
  PlantedRecord record(2, 3, 40);
  record.look_back(0, 1, 1, 0.9);
  record.spread(1, 2);
  const std::string page = page_of(record);
  for (const char* title : {"Findings", "Every head", "The text, by the attention it receives", "Sinks",
                            "Telling heads", "Analyses", "Formulas", "Provenance", "Looked for and not found"})
    EXPECT_THAT(page, HasSubstr(title));
  EXPECT_EQ(count(page, "<svg"), count(page, "</svg>"));
  EXPECT_GE(count(page, "<svg"), 4 + 2) << "four grids and some maps";
  EXPECT_THAT(page, Not(HasSubstr("Roles</b>")));
}

TEST(Report, NeedsNothingFromOutside) {
  PlantedRecord record(1, 2, 30);
  record.look_back(0, 1, 1, 0.9);
  const std::string page = page_of(record);
  for (const char* outside : {"<script", "<link", "<iframe", "@import", "url(http", "src=\"http", "href=\"http"})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  EXPECT_LT(page.size(), 3u << 20);
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(page, HasSubstr("var(--figure-text)"));
}

TEST(Report, HostileTextStaysText) {
  PlantedRecord record(1, 1, 12);
  std::vector<std::string> words(12, "</span></div><script>alert(1)</script>");
  words[3] = "\" onmouseover=\"alert(1)";
  words[4] = "\xE2\x80\xAE";
  words[5] = "\xff\xfe";
  record.say(words);
  const std::string page = page_of(record);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("onmouseover=\"")));
  EXPECT_THAT(page, Not(HasSubstr("\xE2\x80\xAE")));
  EXPECT_THAT(page, Not(HasSubstr("\xff")));
}

TEST(Report, ShowsTheRolesOfAHeadplan) {
  heads::Headplan plan;
  plan.model.grid = {1, 2, 2};
  plan.primary_lh = {"", "previous"};
  plan.labels_lh = {{}, {"previous"}};
  const std::string page = page_of(PlantedRecord(1, 2, 20), &plan);
  EXPECT_THAT(page, HasSubstr("<b>Roles</b>"));
  EXPECT_THAT(page, HasSubstr("<title>L0H1: previous</title>"));
  EXPECT_THAT(page, HasSubstr("1 of 2 heads have the role previous"));
}

}  // namespace
}  // namespace headlight::report
