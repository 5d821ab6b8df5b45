#include "analysis/analysis.h"

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/capture/dense_reference.h"

namespace headlight::analysis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    return error.what();
  }
  return "no error";
}

Analysis example() {
  return {.id = "example",
          .title = "Example",
          .summary = "Says what it was given",
          .source = "definition",
          .needs = {Need::row, Need::weights},
          .by_default = true,
          .parameters = {{"share", 0.5, 0.0, 1.0, "a number", {}},
                         {"count", 4, 1, kInfinity, "an integer", {}},
                         {"exact", true, -kInfinity, kInfinity, "a boolean", {}},
                         {"mode", "paper", -kInfinity, kInfinity, "a choice", {"paper", "repo"}},
                         {"levels", {0.5, 0.9}, 0.0, 1.0, "an array", {}}},
          .run = [](const AnalysisInput&, const Json&, std::stop_token) { return AnalysisReport{}; }};
}

TEST(Registry, IdsAreUniqueAndKebabCase) {
  std::set<std::string_view> ids;
  for (const Analysis& analysis : analyses()) {
    EXPECT_TRUE(ids.insert(analysis.id).second) << analysis.id;
    EXPECT_EQ(analysis.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"), std::string_view::npos);
    EXPECT_FALSE(analysis.title.empty() || analysis.summary.empty() || analysis.source.empty()) << analysis.id;
    EXPECT_FALSE(analysis.needs.empty()) << analysis.id;
  }
}

TEST(Registry, DefaultsOfEveryParameterAreAccepted) {
  for (const Analysis& analysis : analyses()) {
    const Json defaults = resolve_params(analysis, Json::object());
    EXPECT_EQ(resolve_params(analysis, defaults), defaults) << analysis.id;
    for (const Parameter& p : analysis.parameters) EXPECT_FALSE(p.doc.empty()) << analysis.id << "." << p.name;
  }
}

TEST(Registry, UnknownIdNamesTheClosest) {
  EXPECT_THAT(message_of([] { require_analysis("epsilon-sin"); }), HasSubstr("did you mean epsilon-sink?"));
}

TEST(Params, GivenValuesReplaceDefaults) {
  const Json params = resolve_params(example(), {{"share", 1}, {"mode", "repo"}, {"levels", Json::array({0.25})}});
  EXPECT_TRUE(params["share"].is_number_float());
  EXPECT_EQ(dump_json(params, -1), R"({"share":1.0,"count":4,"exact":true,"mode":"repo","levels":[0.25]})");
}

TEST(Params, WrongOnesAreNamed) {
  const auto resolve = [](const Json& given) { return message_of([&] { resolve_params(example(), given); }); };
  EXPECT_THAT(resolve({{"shar", 1}}), HasSubstr("example.shar: unknown parameter, did you mean share?"));
  EXPECT_THAT(resolve({{"share", 1.5}}), HasSubstr("example.share: expected a number within 0 to 1, found 1.5"));
  EXPECT_THAT(resolve({{"count", 1.5}}), HasSubstr("expected an integer >= 1, found 1.5"));
  EXPECT_THAT(resolve({{"count", 0}}), HasSubstr("found 0"));
  EXPECT_THAT(resolve({{"exact", 1}}), HasSubstr("expected true or false"));
  EXPECT_THAT(resolve({{"mode", "both"}}), HasSubstr("expected one of paper, repo"));
  EXPECT_THAT(resolve({{"levels", {0.5, 2}}}), HasSubstr("an array of numbers within 0 to 1"));
}

class OnE4 : public testing::Test {
 protected:
  OnE4() { capture::write_capture(capture::e4_reference(), {}, capture); }
  capture::MemoryCapture capture;
  ThreadPool pool{1};
};

TEST_F(OnE4, WhatIsMissingIsNamed) {
  EXPECT_THAT(missing_needs(example(), capture, 0), ElementsAre(Need::weights));
  EXPECT_THAT(message_of([&] {
                run_analysis(example(), {capture, 0, pool});
              }),
              HasSubstr("example: not available: needs weights"));
}

TEST_F(OnE4, ReportSaysWhatWasUsed) {
  const AnalysisReport report = run_analysis(require_analysis("epsilon-sink"), {capture, 0, pool}, {{"epsilon", 0.5}});
  EXPECT_EQ(report.id, "epsilon-sink");
  EXPECT_EQ(report.params["epsilon"], 0.5);
  const Json json = to_json(report, 4);
  for (const Json& series : json["series"]) {
    std::int64_t size = 1;
    for (const Json& n : series["shape"]) size *= n.get<std::int64_t>();
    EXPECT_EQ(series["values"].is_null(), size > 4) << series["id"];
    EXPECT_THAT(series["axes"], SizeIs(series["shape"].size()));
  }
}

TEST(MeanReport, AveragesWhatCanBeCompared) {
  const auto one = [](double a, std::vector<double> text) {
    AnalysisReport report;
    report.id = "example";
    report.series.push_back({"score", "1", "f", {"layer"}, {2}, {a, kUndefined}, 0, 1});
    report.series.push_back({"along", "1", "f", {"query"}, {std::ssize(text)}, text, 0, 1});
    report.notes = {"caveat"};
    return report;
  };
  const AnalysisReport mean = mean_report({one(0.25, {1, 2}), one(0.75, {1})});
  ASSERT_THAT(mean.series, SizeIs(1));
  EXPECT_EQ(mean.series[0].values[0], 0.5);
  EXPECT_TRUE(std::isnan(mean.series[0].values[1]));
  EXPECT_THAT(mean.notes, ElementsAre("mean over 2 records", "caveat", HasSubstr("single records only")));
}

}  // namespace
}  // namespace headlight::analysis
