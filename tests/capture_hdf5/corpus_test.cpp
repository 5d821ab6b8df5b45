#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iterator>
#include <random>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "core/capture/memory_capture.h"
#include "core/capture_hdf5/capture_file.h"
#include "tests/capture_hdf5/compare_views.h"
#include "tests/capture_hdf5/fault_support.h"
#include "tests/support/temp_folder.h"

namespace headlight::capture {
namespace {

using testing_support::SyntheticRun;
using testing_support::TempFolder;

SyntheticRun corpus_run(std::int64_t records, CaptureLevel level) {
  SyntheticRun run;
  run.num_records = records;
  run.level = level;
  run.prompt_tokens = 23;
  run.generated_tokens = 4;
  return run;
}

CaptureWriterOptions stacked() {
  CaptureWriterOptions options;
  options.stacked_corpus = true;
  return options;
}

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Errc code_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return Errc::internal;
}

TEST(Corpus, StackedFileAnswersEveryHeadStatistic) {
  const TempFolder folder;
  const SyntheticRun run = corpus_run(70, CaptureLevel::summary);  // more than one chunk of records
  MemoryCapture memory;
  run.write(memory);
  run.write(*create_capture(folder / "c.h5", stacked()));
  const auto file = open_capture(folder / "c.h5", {.allow_incomplete = false, .check_manifest = true});
  ASSERT_EQ(file->num_records(), 70);
  for (std::int64_t r = 0; r < 70; r += 23) expect_same_record(memory, *file, r, {.row_data = false, .rows = -1});
  EXPECT_EQ(code_of([&] { file->statistic(0, "lse", 0); }), Errc::invalid_argument);
  EXPECT_EQ(code_of([&] { file->record(70); }), Errc::invalid_argument);
  EXPECT_FALSE(file->head_recorded(0, 0, 0));
}

TEST(Corpus, RecordsFromReplayOnAreFilesOfTheirOwn) {
  const TempFolder folder;
  const SyntheticRun run = corpus_run(3, CaptureLevel::replay);
  MemoryCapture memory;
  run.write(memory);
  run.write(*create_capture(folder / "c.h5", {}));
  const auto file = open_capture(folder / "c.h5");
  ASSERT_EQ(file->num_records(), 3);
  for (std::int64_t r = 0; r < 3; ++r) {
    expect_same_record(memory, *file, r);
    EXPECT_EQ(open_capture(folder / "c.d" / fmt::format("{}.h5", r))->record(0).header.record_id,
              memory.record(r).header.record_id);
  }
  // The master and its folder move together.
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::rename(folder / "c.h5", folder / "elsewhere" / "c.h5");
  std::filesystem::rename(folder / "c.d", folder / "elsewhere" / "c.d");
  expect_same_record(memory, *open_capture(folder / "elsewhere" / "c.h5"), 2);
  std::filesystem::remove(folder / "elsewhere" / "c.d" / "1.h5");
  const auto moved = open_capture(folder / "elsewhere" / "c.h5");
  EXPECT_EQ(code_of([&] { moved->record(1); }), Errc::not_found);
}

TEST(Corpus, ExistingRecordsAreNotOverwrittenWithoutForce) {
  const TempFolder folder;
  const SyntheticRun run = corpus_run(2, CaptureLevel::replay);
  run.write(*create_capture(folder / "c.h5", {}));
  EXPECT_EQ(code_of([&] { create_capture(folder / "c.h5", {}); }), Errc::output_exists);
  std::filesystem::remove(folder / "c.h5");
  EXPECT_EQ(code_of([&] { run.write(*create_capture(folder / "c.h5", {})); }), Errc::output_exists);
  CaptureWriterOptions force;
  force.overwrite = true;
  run.write(*create_capture(folder / "c.h5", force));
  EXPECT_EQ(open_capture(folder / "c.h5")->num_records(), 2);
}

TEST(Corpus, MergedPartsEqualOneRun) {
  for (const CaptureLevel level : {CaptureLevel::summary, CaptureLevel::replay}) {
    const TempFolder folder;
    const SyntheticRun whole = corpus_run(6, level);
    MemoryCapture memory;
    whole.write(memory);
    const CaptureWriterOptions options = level == CaptureLevel::summary ? stacked() : CaptureWriterOptions();
    for (int part = 0; part < 2; ++part) {
      const auto sink = create_capture(folder / fmt::format("p{}.h5", part), options);
      CaptureHeader header = whole.header();
      header.num_records = 3;
      sink->begin(header);
      for (std::int64_t r = part; r < 6; r += 2) whole.write_record(*sink, r);
      sink->finish(true);
    }
    merge_captures({folder / "p1.h5", folder / "p0.h5"}, folder / "all.h5", false);
    const auto merged = open_capture(folder / "all.h5", {.allow_incomplete = false, .check_manifest = true});
    ASSERT_EQ(merged->num_records(), 6);
    for (std::int64_t r = 0; r < 6; ++r)
      expect_same_record(memory, *merged, r, {.row_data = level == CaptureLevel::replay, .rows = -1});
    EXPECT_EQ(code_of([&] {
                merge_captures({folder / "p0.h5", folder / "p0.h5"}, folder / "x.h5", false);
              }),
              Errc::invalid_argument);
    EXPECT_EQ(code_of([&] { merge_captures({folder / "p0.h5"}, folder / "p0.h5", true); }), Errc::invalid_argument);
    EXPECT_EQ(code_of([&] { merge_captures({folder / "p0.h5"}, folder / "all.h5", false); }), Errc::output_exists);
  }
}

TEST(Corpus, SingleCapturesMergeToo) {
  const TempFolder folder;
  SyntheticRun run = corpus_run(1, CaptureLevel::replay);
  const SyntheticRun three = corpus_run(3, CaptureLevel::replay);
  MemoryCapture memory;
  three.write(memory);
  for (int r = 0; r < 3; ++r) {
    const auto sink = create_capture(folder / fmt::format("{}.h5", r), {});
    sink->begin(run.header());
    run.write_record(*sink, r);
    sink->finish(true);
  }
  merge_captures({folder / "2.h5", folder / "0.h5", folder / "1.h5"}, folder / "all.h5", false);
  const auto merged = open_capture(folder / "all.h5");
  for (std::int64_t r = 0; r < 3; ++r) expect_same_record(memory, *merged, r);
}

TEST(Corpus, OtherModelsOrPlansDoNotMerge) {
  const TempFolder folder;
  SyntheticRun run = corpus_run(1, CaptureLevel::replay);
  run.write(*create_capture(folder / "a.h5", {}));
  run.layers = {0, 3};
  run.write(*create_capture(folder / "b.h5", {}));
  EXPECT_EQ(code_of([&] {
              merge_captures({folder / "a.h5", folder / "b.h5"}, folder / "c.h5", false);
            }),
            Errc::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(folder / "c.h5"));
}

TEST(Corpus, KilledCorpusKeepsTheRecordsThatWereComplete) {
  for (const CaptureLevel level : {CaptureLevel::summary, CaptureLevel::replay}) {
    const SyntheticRun run = corpus_run(12, level);
    MemoryCapture memory;
    run.write(memory);
    std::mt19937 random(test_seed());
    std::uniform_int_distribution<int> delay(20'000, level == CaptureLevel::summary ? 120'000 : 500'000);
    for (int i = 0; i < sweep_points(4, 40); ++i) {
      const int wait = delay(random);
      SCOPED_TRACE(fmt::format("seed {}, killed after {} us, level {}", test_seed(), wait, to_string(level)));
      const TempFolder folder;
      Child child([&](const auto& log) {
        CaptureWriterOptions options;
        options.stacked_corpus = level == CaptureLevel::summary;
        const auto sink = create_capture(folder / "c.h5", options);
        sink->begin(run.header());
        for (std::int64_t r = 0; r < run.num_records; ++r) {
          run.write_record(*sink, r);
          log(r);
          ::usleep(5000);
        }
        sink->finish(true);
        return 0;
      });
      child.kill_after(std::chrono::microseconds(wait));
      if (child.wait() == 0) continue;
      const auto complete = static_cast<std::int64_t>(child.logged().size());
      const auto part = find_part(folder.path());
      if (part.empty()) {
        EXPECT_EQ(complete, 0);
        continue;
      }
      try {
        const RecoverReport report = recover_capture(part, folder / "r.h5", false);
        EXPECT_GE(report.num_records, complete);
        const auto found = open_capture(folder / "r.h5", {.allow_incomplete = true, .check_manifest = true});
        ASSERT_EQ(found->num_records(), report.num_records);
        for (std::int64_t r = 0; r < report.num_records; ++r)
          expect_same_record(memory, *found, r, {.row_data = level == CaptureLevel::replay, .rows = -1});
      } catch (const Error& error) {
        EXPECT_EQ(complete, 0) << error.what();
      }
    }
  }
}

TEST(Reproducible, SameRunGivesTheSameBytes) {
  CaptureWriterOptions options;
  options.reproducible = true;
  options.overwrite = true;
  SyntheticRun run;
  run.generated_tokens = 20;
  run.level = CaptureLevel::maps;
  for (const bool corpus : {false, true}) {
    if (corpus) run = corpus_run(4, CaptureLevel::summary), options.stacked_corpus = true;
    const TempFolder folder;
    std::string first;
    for (const int threads : {1, 2, 1}) {
      options.compression_threads = threads;
      run.write(*create_capture(folder / "c.h5", options));
      const std::string bytes = file_bytes(folder / "c.h5");
      if (first.empty()) first = bytes;
      EXPECT_TRUE(bytes == first) << "the bytes differ, corpus " << corpus << ", threads " << threads;
    }
  }
}

TEST(Reproducible, OtherwiseEveryCaptureHasItsOwnId) {
  const TempFolder folder;
  const SyntheticRun run;
  run.write(*create_capture(folder / "a.h5", {}));
  run.write(*create_capture(folder / "b.h5", {}));
  const std::string a = open_capture(folder / "a.h5")->uuid(), b = open_capture(folder / "b.h5")->uuid();
  EXPECT_NE(a, b);
  EXPECT_EQ(a.size(), 36u);
  EXPECT_EQ(a[14], '4');
}

struct EstimateCase {
  const char* name;
  std::int64_t tokens, generated;
  CaptureLevel level;
  DType dtype;
  int layers, heads, groups, dim;
};

TEST(Estimate, IsWithinItsMarginOfTheFile) {
  const EstimateCase cases[] = {
      {"replay", 260, 0, CaptureLevel::replay, DType::f32, 4, 6, 3, 64},
      {"replay16", 260, 0, CaptureLevel::replay, DType::f16, 4, 6, 3, 64},
      {"summary", 300, 0, CaptureLevel::summary, DType::f32, 6, 6, 3, 16},
      {"maps", 200, 0, CaptureLevel::maps, DType::f32, 3, 4, 2, 16},
      {"generated", 100, 120, CaptureLevel::replay, DType::f32, 4, 6, 3, 64},
      {"short", 30, 0, CaptureLevel::replay, DType::f32, 6, 9, 3, 64},
      {"uneven", 1100, 0, CaptureLevel::replay, DType::bf16, 2, 2, 2, 16},
  };
  for (const EstimateCase& c : cases) {
    const TempFolder folder;
    SyntheticRun run;
    run.num_layers = c.layers;
    run.layers.clear();
    for (int l = 0; l < c.layers; ++l) run.layers.push_back(l);
    run.num_heads = c.heads;
    run.num_kv_heads = c.groups;
    run.head_dim = c.dim;
    run.hidden_size = c.heads * c.dim;
    run.vocab_size = 32000;
    run.prompt_tokens = c.tokens;
    run.generated_tokens = c.generated;
    run.level = c.level;
    run.replay_dtype = c.dtype;
    run.write(*create_capture(folder / "c.h5", {}));
    const auto actual = static_cast<double>(std::filesystem::file_size(folder / "c.h5"));
    const auto estimate = static_cast<double>(estimate_capture_bytes(run.header(), run.num_rows()).total());
    RecordProperty(c.name, fmt::format("{:.3f}", estimate / actual));
    EXPECT_LE(estimate, 1.25 * actual) << c.name << ": estimate " << estimate << ", file " << actual;
    EXPECT_GE(estimate, 0.50 * actual) << c.name << ": estimate " << estimate << ", file " << actual;
  }
}

TEST(Estimate, TooSmallADiskIsRefusedWithBothNumbers) {
  const TempFolder folder;
  EXPECT_NO_THROW(check_free_space(folder / "c.h5", 1000));
  try {
    check_free_space(folder / "c.h5", std::int64_t{1} << 60);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::io);
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("needs"), ::testing::HasSubstr("are free")));
  }
}

}  // namespace
}  // namespace headlight::capture
