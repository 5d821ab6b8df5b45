// Every analysis of the registry on made-up captures: what it says has the shapes it claims, stays in the range it
// claims, and does not depend on the number of threads.
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "tests/support/synthetic_capture.h"

namespace headlight::analysis {
namespace {

using testing_support::SyntheticRun;

struct Case {
  const char* name;
  SyntheticRun run;
};

std::vector<Case> cases() {
  SyntheticRun plain;
  plain.hidden_states = true;
  plain.layers = {0, 1, 2, 3};
  SyntheticRun window = plain;
  window.window = 9;
  window.first_key = 4;
  SyntheticRun null = plain;
  null.null_logit = true;
  null.soft_cap = 5.0f;
  SyntheticRun part = plain;
  part.some_heads_only = true;
  part.layers = {1, 3};
  part.row_begin = 10;
  part.overview = false;
  part.replay_dtype = DType::bf16;
  SyntheticRun both = plain;
  both.causal = false;
  SyntheticRun corpus = plain;
  corpus.num_records = 3;
  SyntheticRun summary = plain;
  summary.level = capture::CaptureLevel::summary;
  summary.hidden_states = false;
  SyntheticRun generated = plain;
  generated.generated_tokens = 5;
  SyntheticRun tiny = plain;
  tiny.prompt_tokens = 1;
  return {{"plain", plain},   {"window", window},   {"null", null},           {"part", part}, {"both", both},
          {"corpus", corpus}, {"summary", summary}, {"generated", generated}, {"tiny", tiny}};
}

void expect_sound(const Analysis& analysis, const AnalysisReport& report, const std::string& where) {
  std::set<std::string> ids;
  for (const Series& series : report.series) {
    const std::string what = where + ": " + std::string(analysis.id) + "." + series.id;
    EXPECT_TRUE(ids.insert(series.id).second) << what;
    EXPECT_FALSE(series.formula.empty()) << what;
    EXPECT_EQ(series.axes.size(), series.shape.size()) << what;
    std::int64_t size = 1;
    for (const std::int64_t n : series.shape) size *= n;
    EXPECT_EQ(std::ssize(series.values), size) << what;
    for (const double value : series.values) {
      if (std::isnan(value)) continue;
      const double slack = 1e-4 * (1.0 + std::abs(value));
      EXPECT_TRUE(value >= series.low - slack && value <= series.high + slack)
          << what << " = " << value << ", range " << series.low << " to " << series.high;
      if (value < series.low - slack || value > series.high + slack) break;
    }
  }
  for (const Table& table : report.tables)
    for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size()) << analysis.id << "." << table.id;
}

TEST(Reports, OfEveryAnalysisAreSound) {
  std::set<std::string_view> ran;
  for (const auto& [name, run] : cases()) {
    capture::MemoryCapture capture;
    run.write(capture);
    for (const Analysis& analysis : analyses()) {
      if (!missing_needs(analysis, capture, 0).empty()) continue;
      ThreadPool one(1), three(3);
      try {
        const AnalysisReport report = run_analysis(analysis, {capture, 0, one});
        expect_sound(analysis, report, name);
        EXPECT_EQ(dump_json(to_json(report)), dump_json(to_json(run_analysis(analysis, {capture, 0, three}))))
            << name << ": " << analysis.id << " depends on the number of threads";
        ran.insert(analysis.id);
      } catch (const Error& error) {  // a sentence, not a number that means nothing
        EXPECT_EQ(error.code(), Errc::invalid_argument) << name << ": " << analysis.id << ": " << error.what();
      }
    }
  }
  for (const Analysis& analysis : analyses())  // those on demand may want labels, images or other data of their own
    EXPECT_TRUE(!analysis.by_default || ran.contains(analysis.id)) << analysis.id << " ran on none of the captures";
}

TEST(Reports, OfCorporaOfTheirOwnKind) {
  SyntheticRun images;
  images.num_records = 4;
  images.segment_name = "image";
  capture::MemoryCapture with_images;
  images.write(with_images);
  ThreadPool pool(2);
  const Analysis& image = require_analysis("image-entropy");
  expect_sound(image, run_analysis(image, {with_images, 0, pool}), "images");

  images.hidden_states = true;
  capture::MemoryCapture with_states;
  images.write(with_states);
  const Analysis& spread = require_analysis("perturbation-spread");
  const AnalysisReport moved = run_analysis(spread, {with_states, 2, pool});
  expect_sound(spread, moved, "states");
  EXPECT_GT(moved.series.front().values.front(), 0.0);
  EXPECT_THROW(run_analysis(spread, {with_states, 0, pool}), Error) << "a record against itself";

  SyntheticRun short_text, long_text;
  short_text.num_records = 2;
  long_text.prompt_tokens = 80;
  capture::MemoryCapture lengths;
  lengths.begin(short_text.header());
  short_text.write_record(lengths, 0);
  long_text.write_record(lengths, 1);
  lengths.finish(true);
  const Analysis& elastic = require_analysis("elastic-span");
  expect_sound(elastic, run_analysis(elastic, {lengths, 0, pool}), "lengths");
}

TEST(Reports, StopWhenAsked) {
  capture::MemoryCapture capture;
  cases().front().run.write(capture);
  ThreadPool pool(1);
  std::stop_source stop;
  stop.request_stop();
  for (const char* id : {"epsilon-sink", "entropy", "matrix-entropy", "concentration", "over-mixing"}) try {
      run_analysis(require_analysis(id), {capture, 0, pool}, Json::object(), stop.get_token());
      ADD_FAILURE() << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::cancelled) << id;
    }
}

}  // namespace
}  // namespace headlight::analysis
