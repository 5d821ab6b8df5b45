#include <chrono>
#include <cmath>
#include <csignal>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libdeflate.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "core/capture_hdf5/capture_file.h"
#include "core/capture_hdf5/guard.h"
#include "tests/capture_hdf5/fault_support.h"
#include "tests/capture_hdf5/hostile_support.h"

namespace headlight::capture {
namespace {

struct HostileCase {
  const char* name;
  std::function<void(const Golden&)> spoil;
  Errc code = Errc::damaged;
  const char* says = "";
};

void PrintTo(const HostileCase& value, std::ostream* out) {
  *out << value.name;
}

std::function<void(const Golden&)> edited(std::function<void(hid_t)> change) {
  return [change = std::move(change)](const Golden& golden) { golden.edit(change); };
}

std::function<void(const Golden&)> element(const char* path, std::vector<hsize_t> at, double value) {
  return edited([=](hid_t file) { set_element(file, path, at, value); });
}

std::function<void(const Golden&)> number(const char* object, const char* name, std::int64_t value) {
  return edited([=](hid_t file) { set_number(file, object, name, value); });
}

std::function<void(const Golden&)> dataset(const char* path, hid_t type, std::vector<hsize_t> dims,
                                           std::function<void(hid_t)> configure = {}) {
  return edited([=](hid_t file) { replace_dataset(file, path, type, dims, configure); });
}

hid_t variable_text() {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  return type;
}

std::function<void(hid_t)> chunked(std::vector<hsize_t> chunk) {
  return [=](hid_t list) { H5Pset_chunk(list, static_cast<int>(chunk.size()), chunk.data()); };
}

void external_link(hid_t file, const char* path, const char* target, const char* object) {
  if (H5Lexists(file, path, H5P_DEFAULT) > 0) H5Ldelete(file, path, H5P_DEFAULT);
  H5Lcreate_external(target, object, file, path, H5P_DEFAULT, H5P_DEFAULT);
}

void nest_groups(hid_t file) {
  std::string path;
  for (int depth = 0; depth < 12; ++depth) {
    path += "/deep";
    H5Gclose(H5Gcreate2(file, path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  }
}

void many_groups(hid_t file) {
  const hid_t parent = H5Gcreate2(file, "/many", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  for (int i = 0; i < 21'000; ++i)
    H5Gclose(H5Gcreate2(parent, std::to_string(i).c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Gclose(parent);
}

void user_defined_link(hid_t file) {
  H5L_class_t kind{};
  kind.version = H5L_LINK_CLASS_T_VERS;
  kind.id = static_cast<H5L_type_t>(200);
  kind.comment = "test";
  kind.trav_func = [](const char*, hid_t, const void*, size_t, hid_t, hid_t) -> hid_t { return -1; };
  H5Lregister(&kind);
  H5Lcreate_ud(file, "/odd", kind.id, "x", 1, H5P_DEFAULT, H5P_DEFAULT);
}

void virtual_dataset(hid_t file) {
  const hsize_t dims[3] = {1, 2, 9};
  const hid_t space = H5Screate_simple(3, dims, nullptr);
  replace_dataset(file, "/rec/0/row/lse", H5T_IEEE_F32LE, {1, 2, 9},
                  [&](hid_t list) { H5Pset_virtual(list, space, "other.h5", "/x", space); });
  H5Sclose(space);
}

// A chunk that would inflate to far more than a chunk holds.
void deflate_bomb(hid_t file) {
  const std::vector<char> zeros(512 << 10);
  std::vector<char> packed(64 << 10);
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(9);
  const std::size_t size =
      libdeflate_zlib_compress(compressor, zeros.data(), zeros.size(), packed.data(), packed.size());
  libdeflate_free_compressor(compressor);
  const hid_t lse = H5Dopen2(file, "/rec/0/row/lse", H5P_DEFAULT);
  const hsize_t at[3] = {0, 0, 0};
  if (H5Dwrite_chunk(lse, H5P_DEFAULT, 0, at, size, packed.data()) < 0) throw std::runtime_error("no bomb");
  H5Dclose(lse);
}

void huge_attribute(hid_t file) {
  H5Adelete(file, "uuid");
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, 3 << 20);
  const std::string text(3 << 20, 'u');
  const hid_t attribute = H5Acreate2(file, "uuid", type, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(attribute, type, text.data());
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
}

void set_real(hid_t file, const char* object, const char* name, double value) {
  const hid_t at = H5Oopen(file, object, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
  H5Adelete(at, name);
  const hid_t attribute = H5Acreate2(at, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Oclose(at);
}

void spoil_plan(hid_t file) {
  for (hsize_t i = 0; i < 40; ++i) set_element(file, "/provenance/capture_plan_json", {i}, '{');
}

std::vector<HostileCase> hostile_cases() {
  const auto other = [](const char* text) {
    return std::function<void(const Golden&)>([=](const Golden& g) { g.write_bytes(text); });
  };
  std::vector<HostileCase> all = {
      {"text_file", other("this is no capture at all, but it is longer than any superblock of the format is"),
       Errc::bad_format, "signature"},
      {"signature", [](const Golden& g) { g.patch(1, "X"); }, Errc::bad_format, "signature"},
      {"superblock_0", [](const Golden& g) { g.patch(8, std::string(1, '\0')); }, Errc::bad_format,
       "superblock version"},
      {"superblock_9", [](const Golden& g) { g.patch(8, "\x09"); }, Errc::bad_format, "superblock version"},
      {"superblock_checksum", [](const Golden& g) { g.patch(44, "abcd"); }, Errc::damaged, "checksum"},
      {"offset_size", [](const Golden& g) { g.patch(9, "\x04"); }, Errc::bad_format, "8-byte"},
      {"foreign_hdf5", edited([](hid_t f) { H5Adelete(f, "headlight_version"); }), Errc::bad_format, "no capture"},
      {"unfinished", number("/", "complete", 0), Errc::damaged, "unfinished"},
      {"partial", number("/", "complete", 2), Errc::damaged, "partial"},
      {"complete_7", number("/", "complete", 7), Errc::damaged, "complete"},
      {"no_uuid", edited([](hid_t f) { H5Adelete(f, "uuid"); }), Errc::damaged, "uuid"},
      {"huge_attribute", edited(huge_attribute), Errc::damaged, "uuid"},
      {"no_record", edited([](hid_t f) { H5Ldelete(f, "/rec/0", H5P_DEFAULT); }), Errc::damaged, "/rec/0"},
      {"no_model", edited([](hid_t f) { H5Ldelete(f, "/model", H5P_DEFAULT); }), Errc::damaged, "/model"},
      {"no_counters", edited([](hid_t f) { H5Ldelete(f, "/live", H5P_DEFAULT); }), Errc::damaged, "/live/progress"},
      {"no_tokens", edited([](hid_t f) { H5Ldelete(f, "/rec/0/text/token_id", H5P_DEFAULT); }), Errc::damaged,
       "token_id"},
      {"variable_text", dataset("/rec/0/text/utf8", variable_text(), {4}), Errc::damaged, "variable-length"},
      {"variable_list", dataset("/extra", H5Tvlen_create(H5T_NATIVE_INT), {4}), Errc::damaged, "variable-length"},
      {"variable_member", edited([](hid_t f) {
         const hid_t type = H5Tcreate(H5T_COMPOUND, 32);
         H5Tinsert(type, "a", 0, variable_text());
         replace_dataset(f, "/extra", type, {2});
       }),
       Errc::damaged, "variable-length"},
      {"reference", dataset("/extra", H5T_STD_REF_OBJ, {4}), Errc::damaged, "reference"},
      {"external_storage",
       dataset("/rec/0/replay/scale", H5T_IEEE_F32LE, {1},
               [](hid_t list) { H5Pset_external(list, "/etc/passwd", 0, 4); }),
       Errc::damaged, "another file"},
      {"virtual", edited(virtual_dataset), Errc::damaged, "virtual"},
      {"link_up", edited([](hid_t f) { external_link(f, "/rec/1", "../other.d/0.h5", "/rec/0"); }), Errc::damaged,
       "links to"},
      {"link_absolute", edited([](hid_t f) { external_link(f, "/rec/1", "/etc/x.d/0.h5", "/rec/0"); }), Errc::damaged,
       "links to"},
      {"link_elsewhere", edited([](hid_t f) { external_link(f, "/model/x", "a.d/0.h5", "/rec/0"); }), Errc::damaged,
       "links to"},
      {"link_object", edited([](hid_t f) { external_link(f, "/rec/1", "a.d/0.h5", "/"); }), Errc::damaged, "links to"},
      {"user_link", edited(user_defined_link), Errc::damaged, "user-defined"},
      {"zstd",
       dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {1, 2, 9},
               [](hid_t list) {
                 chunked({1, 2, 9})(list);
                 H5Pset_filter(list, 32015, H5Z_FLAG_OPTIONAL, 0, nullptr);
               }),
       Errc::damaged, "filter 32015"},
      {"filter_65535",
       dataset("/extra", H5T_IEEE_F32LE, {4},
               [](hid_t list) {
                 chunked({4})(list);
                 H5Pset_filter(list, 65535, H5Z_FLAG_OPTIONAL, 0, nullptr);
               }),
       Errc::damaged, "filter 65535"},
      {"big_chunk", dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {1, 2, 1u << 27}, chunked({1, 2, 1u << 24})),
       Errc::damaged, "chunks"},
      {"many_elements", dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {1u << 20, 1u << 20, 1u << 20}, chunked({1, 1, 1})),
       Errc::damaged, "2^45"},
      {"many_chunks", dataset("/extra", H5T_IEEE_F32LE, {1u << 30}, chunked({1})), Errc::damaged, "chunks"},
      {"rank_7", dataset("/extra", H5T_IEEE_F32LE, {1, 1, 1, 1, 1, 1, 1}), Errc::damaged, "dimensions"},
      {"rank_of_lse", dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {2, 9}, chunked({2, 9})), Errc::damaged, "row/lse"},
      {"heads_of_lse", dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {1, 3, 9}, chunked({1, 3, 9})), Errc::damaged,
       "row/lse"},
      {"rows_of_lse", dataset("/rec/0/row/lse", H5T_IEEE_F32LE, {1, 2, 8}, chunked({1, 2, 8})), Errc::damaged,
       "row/lse"},
      {"type_of_k", dataset("/rec/0/replay/k", H5T_STD_B32LE, {1, 1, 9, 8}, chunked({1, 1, 9, 8})), Errc::damaged,
       "replay/k"},
      {"dim_of_k", dataset("/rec/0/replay/k", H5T_IEEE_F32LE, {1, 1, 9, 4}, chunked({1, 1, 9, 4})), Errc::damaged,
       "replay/k"},
      {"blocks", number("/rec/0/map/block_max", "block_size", 3), Errc::damaged, "block"},
      {"block_0", number("/rec/0/map/block_max", "block_size", 0), Errc::damaged, "block"},
      {"heads_0", number("/model", "n_heads", 0), Errc::damaged, "n_heads"},
      {"heads_10_6", number("/model", "n_heads", 1'000'000), Errc::damaged, "n_heads"},
      {"heads_3", number("/model", "n_heads", 3), Errc::damaged},
      {"kv_heads_5", number("/model", "n_kv_heads", 5), Errc::damaged, "n_kv_heads"},
      {"rows_negative", number("/rec/0", "n_rows_announced", -5), Errc::damaged, "n_rows"},
      {"rows_2_30", number("/rec/0", "n_rows", 1 << 30), Errc::damaged, "n_rows"},
      {"tokens_2_20", number("/rec/0", "n_prompt_tokens", 1 << 20), Errc::damaged, "token"},
      {"generated_9", number("/rec/0", "n_generated", 9), Errc::damaged, "token"},
      {"plan", edited(spoil_plan), Errc::damaged, "capture_plan_json"},
      {"token_kind", element("/rec/0/text/token_kind", {3}, 200), Errc::damaged, "token_kind"},
      {"token_bytes", element("/rec/0/text/token_byte_end", {3}, 5000), Errc::damaged, "token_byte_end"},
      {"token_order", element("/rec/0/text/token_byte_begin", {3}, 23), Errc::damaged, "token_byte_end"},
      {"piece_offset", element("/rec/0/text/piece_offset", {3}, 1e9), Errc::damaged, "piece_offset"},
      {"piece_negative", element("/rec/0/text/piece_offset", {0}, -8), Errc::damaged, "piece_offset"},
      {"segment", element("/rec/0/text/segment", {3}, 7), Errc::damaged, "segment"},
      {"segment_end", element("/rec/0/segments/end", {1}, -3), Errc::damaged, "segments/end"},
      {"scale_nan", element("/rec/0/replay/scale", {0}, std::nan("")), Errc::damaged, "parameters"},
      {"window_negative", element("/rec/0/replay/window", {0}, -1), Errc::damaged, "parameters"},
      {"indptr", element("/rec/0/topk/indptr", {1}, 4096), Errc::damaged, "indptr"},
      {"indptr_falling", element("/rec/0/topk/indptr", {2}, 0), Errc::damaged, "indptr"},
      {"indices", element("/rec/0/topk/indices", {2}, 9), Errc::damaged, "indices"},
      {"query", element("/rec/0/topk/query", {0}, -2), Errc::damaged, "query"},
      {"counters", element("/live/progress", {0}, 1), Errc::damaged, "/live/progress"},
      {"deep", edited(nest_groups), Errc::damaged, "deeply"},
      {"many", edited(many_groups), Errc::damaged, "objects"},
      {"cycle", edited([](hid_t f) { H5Lcreate_hard(f, "/rec", f, "/rec/0/loop", H5P_DEFAULT, H5P_DEFAULT); }),
       Errc::damaged, "deeply"},
      {"name", edited([](hid_t f) {
         H5Gclose(H5Gcreate2(f, ("/" + std::string(4096, 'n')).c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
       }),
       Errc::damaged, "name"},
      {"bomb", edited(deflate_bomb), Errc::damaged, "row/lse"},
      {"user_block", [](const Golden& g) { g.write_bytes(std::string(512, 'u') + g.bytes()); }, Errc::bad_format,
       "signature"},
      {"opaque", dataset("/rec/0/replay/k", H5Tcreate(H5T_OPAQUE, 4), {1, 1, 9, 8}, chunked({1, 1, 9, 8})),
       Errc::damaged, "replay/k"},
      {"nan_count", edited([](hid_t f) { set_real(f, "/rec/0", "n_rows", std::nan("")); }), Errc::damaged, "n_rows"},
      {"nan_counters", dataset("/live/progress", H5T_IEEE_F64LE, {16}), Errc::damaged, "/live/progress"},
  };
  all.push_back({"newer_major", edited([](hid_t f) {
                   H5Adelete(f, "headlight_version");
                   const hsize_t two = 2;
                   const std::int32_t version[2] = {2, 0};
                   const hid_t space = H5Screate_simple(1, &two, nullptr);
                   const hid_t a = H5Acreate2(f, "headlight_version", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
                   H5Awrite(a, H5T_NATIVE_INT32, version);
                   H5Aclose(a);
                   H5Sclose(space);
                 }),
                 Errc::bad_version, "newer"});
  return all;
}

class Hostile : public ::testing::TestWithParam<HostileCase> {};

TEST_P(Hostile, IsRefusedInOneSentence) {
  const HostileCase& c = GetParam();
  const Golden golden;
  c.spoil(golden);
  const auto begin = std::chrono::steady_clock::now();
  try {
    if (std::string(c.name) == "partial" || std::string(c.name) == "unfinished")
      open_capture(golden.path());
    else
      read_everything(golden.path());
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), c.code) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr(c.says));
    EXPECT_THAT(error.what(), ::testing::HasSubstr(golden.path().string()));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

INSTANTIATE_TEST_SUITE_P(All, Hostile, ::testing::ValuesIn(hostile_cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Foreign, HarmlessAdditionsAreIgnored) {
  const Golden golden;
  golden.edit([](hid_t f) {
    H5Lcreate_soft("/no/such/thing", f, "/soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/loop", f, "/loop", H5P_DEFAULT, H5P_DEFAULT);
    replace_dataset(f, "/extra", H5T_STD_B32LE, {4});
    const hid_t type = H5Tcopy(H5T_NATIVE_INT);
    H5Tcommit2(f, "/named_type", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Tclose(type);
    H5Gclose(H5Gcreate2(f, "/future", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
  EXPECT_NO_THROW(read_everything(golden.path()));
}

TEST(Foreign, ManifestNamesWhatChanged) {
  const Golden golden;
  golden.edit([](hid_t f) { set_element(f, "/rec/0/replay/k", {0, 0, 1, 1}, 0.123); });
  EXPECT_THAT(verify_manifest(golden.path()).mismatches, ::testing::ElementsAre("/rec/0/replay/k"));
  try {
    open_capture(golden.path(), {.allow_incomplete = false, .check_manifest = true});
    FAIL() << "it was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::damaged);
  }
}

TEST(Foreign, FilesOfEveryShortLengthAreRefused) {
  const Golden golden;
  const std::string whole = golden.bytes();
  for (std::size_t length = 0; length <= 64; ++length) {
    golden.write_bytes(whole.substr(0, length));
    try {
      open_capture(golden.path());
      ADD_FAILURE() << length << " bytes were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(exit_code(error.code()), 4) << error.what();
    }
  }
}

TEST(Foreign, TruncationIsSeenAtEveryFourKilobytes) {
  const Golden golden;
  const std::string whole = golden.bytes();
  for (std::size_t length = 4096; length < whole.size(); length += 4096) {
    golden.write_bytes(whole.substr(0, length));
    try {
      open_capture(golden.path());
      ADD_FAILURE() << length << " bytes were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::damaged) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr("truncated"));
    }
  }
}

TEST(Foreign, OnlyRegularFilesAreOpened) {
  const testing_support::TempFolder folder;
  const auto code = [](const std::filesystem::path& path) {
    try {
      open_capture(path);
    } catch (const Error& error) {
      return error.code();
    }
    return Errc::internal;
  };
  EXPECT_EQ(code(folder / "missing.h5"), Errc::not_found);
  EXPECT_EQ(code(folder.path()), Errc::unreadable);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(code(folder / "pipe"), Errc::unreadable);
  EXPECT_EQ(code("/dev/zero"), Errc::unreadable);
}

// Structure-blind mutants: the library itself dies on some, so they are read in a guarded child. The process under
// test must survive all of them, and every verdict must be an answer or a refusal.
TEST(Foreign, RandomMutantsNeverReachThisProcess) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer turns crashes of the HDF5 library, which the guard is there for, into its own";
#endif
  const Golden golden;
  const std::string whole = golden.bytes();
  std::mt19937 random(test_seed());
  int fine = 0, refused = 0, died = 0;
  const int count = sweep_points(250, 4000);
  for (int m = 0; m < count; ++m) {
    std::string mutant = whole;
    const int changes = 1 + static_cast<int>(random() % 8);
    for (int c = 0; c < changes; ++c) {
      const std::size_t at = random() % mutant.size();
      switch (random() % 4) {
        case 0:
          mutant[at] = static_cast<char>(random());
          break;
        case 1:
          mutant[at] = static_cast<char>(mutant[at] ^ (1 << random() % 8));
          break;
        case 2:
          for (std::size_t b = at; b < std::min(at + 4, mutant.size()); ++b) mutant[b] = '\xff';
          break;
        default:
          for (std::size_t b = at; b < std::min(at + 8, mutant.size()); ++b) mutant[b] = whole[random() % whole.size()];
      }
    }
    golden.write_bytes(mutant);
    try {
      EXPECT_EQ(run_guarded([&] {
                  const GuardedTimeLimit limit;
                  read_everything(golden.path());
                  return 0;
                }),
                0);
      ++fine;
    } catch (const Error& error) {
      const bool signal = std::string(error.what()).find("signal") != std::string::npos;
      if (const char* keep = std::getenv("HEADLIGHT_KEEP_MUTANTS"); signal && keep != nullptr)
        std::filesystem::copy_file(golden.path(), std::filesystem::path(keep) / fmt::format("{}.h5", m));
      died += signal ? 1 : 0;
      refused += signal ? 0 : 1;
      EXPECT_TRUE(exit_code(error.code()) == 4 || error.code() == Errc::changed)
          << "seed " << test_seed() << " mutant " << m << ": " << error.what();
    }
  }
  RecordProperty("fine", fine);
  RecordProperty("refused", refused);
  RecordProperty("died", died);
  std::printf("%d mutants: %d read, %d refused, %d ended their child\n", count, fine, refused, died);
  EXPECT_GT(fine, 0);
  EXPECT_GT(refused, 0);
}

TEST(Guard, ResultAndErrorsPassThrough) {
  EXPECT_EQ(run_guarded([] { return 7; }), 7);
  try {
    run_guarded([]() -> int {
      throw Error(Errc::bad_version, "too new", {.file = "a.h5", .field = "/x", .offset = 12, .hint = "update"});
    });
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::bad_version);
    EXPECT_EQ(error.message(), "too new");
    EXPECT_EQ(error.context().file, "a.h5");
    EXPECT_EQ(error.context().field, "/x");
    EXPECT_EQ(error.context().offset, std::optional<std::uint64_t>(12));
    EXPECT_EQ(error.context().hint, "update");
  }
}

Errc guarded_code(const std::function<int()>& work) {
  try {
    run_guarded(work);
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return Errc::internal;
}

TEST(Guard, SignalsBecomeDamagedCaptures) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM})
    EXPECT_EQ(guarded_code([&] {
                std::signal(signal, SIG_DFL);  // sanitizers catch some
                const rlimit none{0, 0};
                ::setrlimit(RLIMIT_CORE, &none);
                return ::raise(signal);
              }),
              Errc::damaged)
        << signal;
  EXPECT_EQ(guarded_code([] { return ::raise(SIGKILL); }), Errc::out_of_memory);
  EXPECT_EQ(run_guarded([] {
              std::signal(SIGINT, SIG_DFL);
              return ::raise(SIGINT);
            }),
            130);
  EXPECT_EQ(run_guarded([] { return ::raise(SIGPIPE); }), 141);
}

TEST(Guard, InterruptOfTheParentReachesTheChild) {
  Child parent([](const auto& log) {
    return run_guarded([&] {
      std::signal(SIGTERM, [](int) { ::_exit(143); });
      log(1);
      std::this_thread::sleep_for(std::chrono::seconds(20));
      return 0;
    });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  parent.send(SIGTERM);
  EXPECT_EQ(parent.wait(), 143);
}

TEST(Guard, ProbeAcceptsACaptureAndRefusesAnother) {
  const Golden golden;
  EXPECT_NO_THROW(probe_capture(golden.path()));
  golden.patch(1, "X");
  EXPECT_EQ(guarded_code([&] {
              probe_capture(golden.path());
              return 0;
            }),
            Errc::bad_format);
}

}  // namespace
}  // namespace headlight::capture
