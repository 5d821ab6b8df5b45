#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "core/capture_hdf5/capture_file.h"
#include "tests/capture_hdf5/compare_views.h"
#include "tests/support/synthetic_capture.h"
#include "tests/support/temp_folder.h"

namespace headlight::capture {
namespace {

using testing_support::SyntheticRun;
using testing_support::TempFolder;

struct RoundTripCase {
  const char* name;
  SyntheticRun run;
};

void PrintTo(const RoundTripCase& value, std::ostream* out) {
  *out << value.name;
}

std::vector<RoundTripCase> round_trip_cases() {
  std::vector<RoundTripCase> all;
  const auto add = [&](const char* name, auto change) {
    RoundTripCase c{name, {}};
    change(c.run);
    all.push_back(std::move(c));
  };
  add("replay", [](SyntheticRun&) {});
  add("summary", [](SyntheticRun& r) { r.level = CaptureLevel::summary; });
  add("maps", [](SyntheticRun& r) { r.level = CaptureLevel::maps, r.some_heads_only = true; });
  add("half", [](SyntheticRun& r) { r.replay_dtype = DType::f16; });
  add("bfloat", [](SyntheticRun& r) { r.replay_dtype = DType::bf16; });
  add("generated", [](SyntheticRun& r) { r.generated_tokens = 40, r.level = CaptureLevel::maps; });
  add("stopped_early", [](SyntheticRun& r) { r.generated_tokens = 20, r.announced_tokens = 90; });
  add("one_generated", [](SyntheticRun& r) { r.generated_tokens = 1; });
  add("long", [](SyntheticRun& r) { r.prompt_tokens = 1300, r.num_heads = 2, r.num_kv_heads = 1; });
  add("long_maps", [](SyntheticRun& r) {
    r.prompt_tokens = 600, r.num_heads = 2, r.num_kv_heads = 1, r.level = CaptureLevel::maps;
  });
  add("some_rows", [](SyntheticRun& r) { r.row_begin = 5, r.row_end = 30, r.some_heads_only = true; });
  add("window", [](SyntheticRun& r) { r.window = 7, r.soft_cap = 5.0f; });
  add("null_logit", [](SyntheticRun& r) { r.null_logit = true; });
  add("padded", [](SyntheticRun& r) { r.first_key = 6; });
  add("bidirectional", [](SyntheticRun& r) { r.causal = false; });
  add("all_logits", [](SyntheticRun& r) { r.logits = LogitsKept::all, r.generated_tokens = 9; });
  add("no_logits", [](SyntheticRun& r) { r.logits = LogitsKept::none, r.overview = false, r.store_values = false; });
  add("hidden_states", [](SyntheticRun& r) { r.hidden_states = true, r.num_segments = 0; });
  add("one_token", [](SyntheticRun& r) { r.prompt_tokens = 1; });
  return all;
}

class RoundTrip : public ::testing::TestWithParam<RoundTripCase> {};

TEST_P(RoundTrip, FileHoldsWhatMemoryHolds) {
  const SyntheticRun& run = GetParam().run;
  const TempFolder folder;
  const auto path = folder / "capture.h5";
  MemoryCapture memory;
  run.write(memory);
  CaptureWriterOptions options;
  options.compression_threads = 2;
  run.write(*create_capture(path, options));
  const auto file = open_capture(path);
  EXPECT_EQ(file->complete(), CompleteState::sealed);
  EXPECT_EQ(file->num_records(), 1);
  expect_same_record(memory, *file, 0);
  const ManifestReport report = verify_manifest(path);
  EXPECT_GT(report.num_datasets, 80);
  EXPECT_THAT(report.mismatches, ::testing::IsEmpty());
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path(), path) << "left over";
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip, ::testing::ValuesIn(round_trip_cases()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace headlight::capture
