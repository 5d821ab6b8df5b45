#include "core/capture/statistics_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/capture/memory_capture.h"
#include "tests/engine/golden_case.h"

namespace headlight::engine {
namespace {

using capture::MemoryCapture;
using testing_support::header_of;
using testing_support::input_of;

/// A capture in which one kind of stored value is slightly wrong.
class TamperedView final : public capture::CaptureView {
 public:
  TamperedView(const CaptureView& view, std::string what, float change)
      : view_(view), what_(std::move(what)), change_(change) {}

  const capture::CaptureHeader& header() const override { return view_.header(); }
  capture::CompleteState complete() const override { return view_.complete(); }
  std::string uuid() const override { return view_.uuid(); }
  std::string name() const override { return view_.name(); }
  std::int64_t num_records() const override { return view_.num_records(); }
  capture::RecordInfo record(std::int64_t r) const override { return view_.record(r); }
  std::vector<std::string> available_statistics(std::int64_t r) const override { return view_.available_statistics(r); }
  bool head_recorded(std::int64_t r, int layer, int head) const override { return view_.head_recorded(r, layer, head); }
  void read_q(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const override {
    view_.read_q(r, layer, head, begin, end, out);
  }
  void read_k(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const override {
    view_.read_k(r, layer, head, begin, end, out);
  }
  void read_v(std::int64_t r, int layer, int head, std::int64_t begin, std::int64_t end, float* out) const override {
    view_.read_v(r, layer, head, begin, end, out);
  }
  Buffer<float> statistic(std::int64_t r, std::string_view id, int layer) const override {
    return tampered(id, view_.statistic(r, id, layer));
  }
  Buffer<float> head_statistic(std::int64_t r, std::string_view id) const override {
    return tampered("head " + std::string(id), view_.head_statistic(r, id));
  }
  Buffer<float> block_sum(std::int64_t r, int layer, int head) const override {
    return tampered("block_sum", view_.block_sum(r, layer, head));
  }
  Buffer<float> block_max(std::int64_t r, int layer, int head) const override {
    return tampered("block_max", view_.block_max(r, layer, head));
  }
  Buffer<float> dense(std::int64_t r, int layer, int head) const override {
    return tampered("dense", view_.dense(r, layer, head));
  }
  Buffer<float> hidden(std::int64_t r, std::string_view id) const override { return tampered(id, view_.hidden(r, id)); }
  void read_states(std::int64_t r, int level, std::int64_t begin, std::int64_t end, float* out) const override {
    view_.read_states(r, level, begin, end, out);
  }
  std::vector<capture::MassiveActivation> massive(std::int64_t r) const override { return view_.massive(r); }
  Buffer<float> last_logits(std::int64_t r) const override { return view_.last_logits(r); }
  std::vector<capture::TopkRow> topk(std::int64_t r, int layer, int head) const override {
    auto rows = view_.topk(r, layer, head);
    capture::TopkRow& last = rows.back();
    if (what_ == "topk value") last.values.front() += change_;
    if (what_ == "topk remainder") last.remainder += change_;
    if (what_ == "topk key") {  // the largest is left out
      const auto at = std::max_element(last.values.begin(), last.values.end()) - last.values.begin();
      last.values.erase(last.values.begin() + at);
      last.keys.erase(last.keys.begin() + at);
    }
    return rows;
  }

 private:
  Buffer<float> tampered(std::string_view id, Buffer<float> values) const {
    if (id == what_) values[values.size() - 1] += change_;
    return values;
  }

  const CaptureView& view_;
  std::string what_;
  float change_;
};

std::vector<std::string> failures(const capture::CaptureView& view, ThreadPool& pool) {
  const capture::RecordInfo info = view.record(0);
  capture::StatisticsCheck check(view, 0, 0, info.num_rows, pool);
  const int layer = static_cast<int>(view.header().plan.layers.size()) - 1;
  check.add_head(layer, view.header().model.num_heads - 1, {});
  check.add_head(layer,
                 view.header().model.num_heads - view.header().model.num_heads / view.header().model.num_kv_heads,
                 {});  // norms are checked with the first head of a group
  std::vector<std::string> failed;
  for (const capture::Check& result : check.results())
    if (!result.passed()) failed.push_back(result.name);
  return failed;
}

class StatisticsCheckTest : public testing::TestWithParam<const char*> {};

TEST_P(StatisticsCheckTest, PassesAndFindsEveryKindOfWrongValue) {
  const auto golden = testing_support::load_golden(GetParam());
  Engine engine(testing_support::open_golden_model(GetParam()), {});
  auto header = header_of(engine, capture::CaptureLevel::maps);
  header.plan.topk = 4;
  CaptureInput input = input_of(golden.ids, 3);
  input.header.segments = {{"user", 0, 5}};
  for (std::size_t i = 0; i < 5; ++i) input.header.tokens[i].segment = 0;
  MemoryCapture capture;
  ASSERT_EQ(run_capture(engine, {input}, header, {}, capture), 0);
  EXPECT_THAT(failures(capture, engine.pool()), testing::IsEmpty());

  const std::tuple<const char*, float, const char*> changes[] = {
      {"lse", 1e-3f, "row lse"},
      {"entropy", 1e-3f, "row entropy"},
      {"pmax", 1e-3f, "row pmax"},
      {"jmax", -1.0f, "row jmax"},
      {"first", 1e-4f, "row first"},
      {"sink", 1e-4f, "row sink"},
      {"local", 1e-4f, "row local"},
      {"dist1", 0.1f, "row dist1"},
      {"dist2", 1.0f, "row dist2"},
      {"off0", 1e-4f, "row off0"},
      {"off1", 1e-4f, "row off1"},
      {"null_mass", 1e-4f, "row null_mass"},
      {"group_mass:0", 1e-4f, "row group_mass"},
      {"received", 1e-2f, "column received"},
      {"received_tail", 1e-2f, "column received_tail"},
      {"head sink", 1e-4f, "head values"},
      {"block_sum", 1e-2f, "block sums"},
      {"block_max", 0.1f, "block maxima"},
      {"dense", 1e-4f, "dense map rows"},
      {"topk value", 1e-3f, "top-k rows"},
      {"topk remainder", 1e-3f, "top-k remainders"},
      {"key_norm", 1e-2f, "key_norm"},
      {"value_norm", 1e-2f, "value_norm"},
  };
  for (const auto& [what, change, expected] : changes)
    EXPECT_THAT(failures(TamperedView(capture, what, change), engine.pool()), testing::Contains(expected)) << what;
  EXPECT_THAT(failures(TamperedView(capture, "topk key", 0.0f), engine.pool()), testing::Contains("top-k rows"));
}

INSTANTIATE_TEST_SUITE_P(Models, StatisticsCheckTest, testing::Values("llama", "mistral", "gemma2", "gpt_oss"),
                         [](const auto& model) { return std::string(model.param); });

TEST(StatisticsCheck, NanFails) {
  capture::Check check;
  check.add(NAN, 1.0, [] { return "here"; });
  EXPECT_FALSE(check.passed());
  EXPECT_EQ(check.where, "here");
}

}  // namespace
}  // namespace headlight::engine
