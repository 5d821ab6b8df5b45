// Row plans: what interventions did to rows, as JSON and back.

#include "core/capture/row_plan.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight::capture {
namespace {

using kernels::KeyRun;
using kernels::RowOp;
using kernels::RowProgram;
using kernels::RowStep;

TEST(RowPlan, SurvivesJsonBitForBit) {
  const std::vector<KeyRun> mask = {{0, 1, -INFINITY}, {3, 5, 0.1f}}, groups = {{2, 4, 1}, {4, 9, 3}};
  RowStep bias{.op = RowOp::bias, .rows = {0, 1000}, .runs = mask.data(), .num_runs = 2};
  RowStep move{.op = RowOp::move_to_targets, .rows = {7, INT64_MAX}, .runs = groups.data(), .num_runs = 2};
  move.constants[0] = 0.3f;
  RowStep shuffle{.op = RowOp::mix_shuffled, .rows = {0, 9}, .seed = 0xfedcba9876543210u};
  const std::vector<RowStep> first = {bias, move}, third = {shuffle};
  const RowProgram programs[] = {{first.data(), 2}, {nullptr, 0}, {third.data(), 1}, {first.data(), 2}};
  const RowPlan plan(programs, 4);
  const Json json = plan.to_json();
  EXPECT_EQ(json["heads"].size(), 2u) << "heads that do the same share an entry";
  const RowPlan back = RowPlan::from_json(parse_json(dump_json(json)), 4, "rows");
  EXPECT_EQ(back.to_json(), json);
  ASSERT_NE(back.program(3), nullptr);
  EXPECT_EQ(back.program(1), nullptr);
  EXPECT_EQ(back.program(0)->steps[0].runs[0].value, -INFINITY);
  EXPECT_EQ(back.program(0)->steps[0].runs[1].value, 0.1f);
  EXPECT_EQ(back.program(0)->steps[1].rows.end, INT64_MAX);
  EXPECT_EQ(back.program(2)->steps[0].seed, shuffle.seed);
  EXPECT_EQ(RowPlan().program(0), nullptr);
}

TEST(RowPlan, RefusesWhatNoRunWrites) {
  const std::string step =
      R"({"op": "weigh_groups", "rows": [0, null], "runs": [[0, 2, 1]], "constants": [1, 0, 0, 0], "seed": 0})";
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& field) {
    std::string changed = R"({"heads": [{"heads": [1], "steps": [)" + step + "]}]}";
    changed.replace(changed.find(from), from.size(), to);
    try {
      RowPlan::from_json(parse_json(changed), 2, "rows");
      ADD_FAILURE() << changed;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::bad_format) << changed;
      EXPECT_EQ(error.context().field.substr(0, field.size()), field) << changed;
    }
  };
  refused("\"heads\": [1]", "\"heads\": [2]", "rows.heads");
  refused("weigh_groups", "weigh_things", "rows.steps.op");
  refused("[0, 2, 1]", "[0, 2, 4]", "rows.steps.runs");
  refused("[0, 2, 1]", "[0, 2, 0.5]", "rows.steps.runs");
  refused("[0, 2, 1]", "[2, 2, 1]", "rows.steps.runs");
  refused("[0, 2, 1]", "[-1, 2, 1]", "rows.steps.runs");
  refused("[[0, 2, 1]]", "[[0, 2, 1], [1, 3, 1]]", "rows.steps.runs");
  refused("[1, 0, 0, 0]", "[1, 0, 0]", "rows.steps.constants");
  refused("[1, 0, 0, 0]", "[1, 0, 0, \"-inf\"]", "rows.steps.constants");
  refused("[0, null]", "[null, 0]", "rows.steps.rows");
}

}  // namespace
}  // namespace headlight::capture
