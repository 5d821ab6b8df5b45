// The trained Bigram-Backcopy model of data/backcopy through the engine, against what NumPy measured in float64 on the
// same weights (tools/train_backcopy.py).

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analysis/analysis.h"
#include "analysis/findings/findings.h"
#include "core/engine/model_runner.h"

namespace headlight::analysis {
namespace {

const std::filesystem::path kBackcopy = std::filesystem::path(HEADLIGHT_SOURCE_DIR) / "data" / "backcopy";
const std::vector<std::string> kKinds = {"mixed", "quiet", "busy"};  // records 0, 1, 2

const Json& oracle() {
  static const Json json = load_json(kBackcopy / "oracle.json");
  return json;
}

/// A snapshot of the training and a capture of the oracle's sequences.
struct Backcopy {
  explicit Backcopy(const std::string& snapshot, bool without_head = false) : expected(oracle()["models"][snapshot]) {
    RunRequest request;
    request.plan = capture::plan_of_all_heads(1, 1, capture::CaptureLevel::replay);
    for (const auto& kind : kKinds) {
      const auto ids = expected[kind]["ids"].get<std::vector<std::int32_t>>();
      request.inputs.push_back({.ids = ids, .generate = 0, .targets = next_token_targets(ids), .logit_rows = {}});
    }
    if (without_head) request.interventions = {intervention::ablate_heads({{0, 0}})};
    engine::Engine engine(formats::open_model(kBackcopy / snapshot), engine::EngineOptions{.threads = 2});
    result = engine::make_model_runner(engine)->run(request);
  }

  double number(const char* analysis, const char* series, std::int64_t record, std::size_t at = 0) {
    const AnalysisReport report = run_analysis(require_analysis(analysis), {*result.capture, record, pool});
    const Series* found = find_series({&report, 1}, analysis, series);
    return found == nullptr ? std::nan("") : found->values.at(at);
  }

  /// Mean loss of the rows behind a trigger, or of the other rows behind the first.
  double loss(std::size_t record, bool on_triggers) const {
    const auto triggers = oracle()["triggers"].get<std::vector<std::int32_t>>();
    const auto ids = expected[kKinds[record]]["ids"].get<std::vector<std::int32_t>>();
    double sum = 0, count = 0;
    for (std::size_t i = 1; i + 1 < ids.size(); ++i) {
      if ((std::find(triggers.begin(), triggers.end(), ids[i]) != triggers.end()) != on_triggers) continue;
      sum -= result.outputs[record].target_logprob[i];
      count += 1;
    }
    return sum / count;
  }

  Json expected;
  RunResult result;
  ThreadPool pool{1};
};

TEST(Backcopy, TheEngineMeasuresWhatNumPyMeasures) {
  for (const std::string snapshot : {"early", "late"}) {
    Backcopy model(snapshot);
    for (std::size_t r = 0; r < kKinds.size(); ++r) {
      SCOPED_TRACE(snapshot + " " + kKinds[r]);
      const Json& expected = model.expected[kKinds[r]];
      const auto record = static_cast<std::int64_t>(r);
      const auto near = [&](const char* analysis, const char* series, const Json& value, double tolerance) {
        EXPECT_NEAR(model.number(analysis, series, record), value.get<double>(), tolerance) << series;
      };
      const Buffer<float> first_i = model.result.capture->statistic(record, "first", 0);
      for (std::size_t i = 0; i < first_i.size(); ++i)
        EXPECT_NEAR(first_i[i], expected["first"][i].get<double>(), 2e-5) << "row " << i;
      for (std::size_t i = 0; i + 1 < first_i.size(); ++i)
        EXPECT_NEAR(model.result.outputs[r].target_logprob[i], expected["log_p_next"][i].get<double>(), 2e-3) << i;
      near("dormant-heads", "first", expected["mean_first"], 1e-5);
      near("dormant-heads", "dormant_rows", expected["dormant_rows"], 1e-9);
      near("epsilon-sink", "alpha0", expected["alpha0"], 1e-5);
      near("value-drain", "drain", expected["drain"], 1e-4);
      near("sink-logit", "gap", expected["gap"], 1e-3);
      for (std::size_t level = 0; level < 2; ++level)
        EXPECT_NEAR(model.number("value-drain", "residual_peak", record, level),
                    expected["residual_peak"][level].get<double>(), 1e-4);
    }
  }
}

// What the paper says of the task: the head rests on every row but those of triggers, so its mean mass on the first
// token is one less their share, its value is drained, and the gap of the scores has grown.
TEST(Backcopy, TheHeadRestsWhereNothingIsToBeCopied) {
  Backcopy late("late"), early("early");
  for (std::int64_t r = 0; r < 3; ++r) {
    const double triggers = late.expected[kKinds[static_cast<std::size_t>(r)]]["trigger_share"];
    EXPECT_NEAR(late.number("dormant-heads", "first", r), 1.0 - triggers, 2e-3);
    EXPECT_NEAR(late.number("dormant-heads", "dormant_rows", r), 1.0 - triggers, 1e-9);
    EXPECT_LT(late.number("value-drain", "drain", r), 0.1);
    EXPECT_EQ(late.number("value-drain", "drained_heads", r), 1.0);
    EXPECT_EQ(late.number("epsilon-sink", "sink_rate0", r), 100.0);
    EXPECT_GT(late.number("sink-logit", "gap", r), early.number("sink-logit", "gap", r) + 5.0);
  }
  EXPECT_LT(early.number("dormant-heads", "first", 1), 0.3);
  EXPECT_GT(early.number("value-drain", "drain", 1), 1.0);
  EXPECT_EQ(early.number("value-drain", "drained_heads", 1), 0.0);
}

TEST(Backcopy, TheHeadIsActiveDormant) {
  Backcopy late("late"), early("early");
  const AnalysisReport report = run_analysis(require_analysis("active-dormant"), {*late.result.capture, 0, late.pool});
  const Series* contrast = find_series({&report, 1}, "active-dormant", "contrast");
  ASSERT_NE(contrast, nullptr);
  EXPECT_NEAR(contrast->values[0], late.expected["busy"]["trigger_share"].get<double>(), 1e-2);
  EXPECT_EQ(report.tables.front().rows.size(), 1u);
  const AnalysisReport before =
      run_analysis(require_analysis("active-dormant"), {*early.result.capture, 0, early.pool});
  EXPECT_TRUE(before.tables.front().rows.empty());
}

// Dormant is not just a pattern: without the head nothing changes where it rests, and copying is lost.
TEST(Backcopy, RemovingTheHeadHurtsTriggersOnly) {
  const Backcopy whole("late"), without("late", true);
  for (const std::size_t r : {0u, 2u}) {
    EXPECT_LT(whole.loss(r, true), 0.02) << kKinds[r];
    EXPECT_GT(without.loss(r, true), 1.0) << kKinds[r];
  }
  EXPECT_NEAR(without.loss(1, false), whole.loss(1, false), 0.1);
}

}  // namespace
}  // namespace headlight::analysis
