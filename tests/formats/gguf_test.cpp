#include "core/formats/gguf.h"

#include <cstring>
#include <fstream>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/formats/gguf_writer.h"
#include "core/formats/tensor_type.h"
#include "tests/support/raw_gguf.h"
#include "tests/support/refusal.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::formats {
namespace {

using namespace testing_support;

GgufFile parse(const std::string& bytes) {
  return GgufFile::parse(as_bytes(bytes), bytes.size(), "a.gguf");
}
GgufFile parse(const RawGguf& file) {
  return parse(file.bytes());
}

void refuse(const RawGguf& file, Errc code, std::initializer_list<std::string_view> mentions) {
  const auto text = expect_refused([&] { parse(file); }, code, mentions);
  EXPECT_NE(text.find("a.gguf"), std::string::npos) << text;
}

RawGguf with_key(std::string key) {
  RawGguf file;
  file.keys = {raw_string_key("general.architecture", "llama"), std::move(key)};
  return file;
}

/// Two F32 tensors of 8 values at data offsets 0 and 32.
RawGguf two_tensors() {
  RawGguf file;
  file.keys = {raw_string_key("general.architecture", "llama")};
  file.tensors = {raw_tensor("a", {8}, 0, 0), raw_tensor("b", {4, 2}, 0, 32)};
  file.data.assign(64, '\1');
  return file;
}

RawGguf with_tensor(std::string tensor) {
  RawGguf file = two_tensors();
  file.tensors[1] = std::move(tensor);
  return file;
}

TEST(Gguf, ReadsEveryValueType) {
  RawGguf raw_file;
  raw_file.keys = {raw_key("u8", 0, raw<std::uint8_t>(200)),
                   raw_key("i8", 1, raw<std::int8_t>(-3)),
                   raw_key("u16", 2, raw<std::uint16_t>(60000)),
                   raw_key("i16", 3, raw<std::int16_t>(-300)),
                   raw_key("u32", 4, raw<std::uint32_t>(4'000'000'000u)),
                   raw_key("i32", 5, raw<std::int32_t>(-70000)),
                   raw_key("f32", 6, raw(1.5f)),
                   raw_key("bool", 7, raw<std::uint8_t>(1)),
                   raw_key("string", 8, raw_string("text")),
                   raw_key("array", 9, raw<std::uint32_t>(5) + raw<std::uint64_t>(2) + raw<std::int32_t>(7) + raw(-8)),
                   raw_key("u64", 10, raw<std::uint64_t>(~0ull)),
                   raw_key("i64", 11, raw<std::int64_t>(-5)),
                   raw_key("f64", 12, raw(2.25)),
                   raw_key("strings", 9, raw<std::uint32_t>(8) + raw<std::uint64_t>(1) + raw_string("x")),
                   raw_key("floats", 9, raw<std::uint32_t>(6) + raw<std::uint64_t>(1) + raw(0.5f)),
                   raw_key("bools", 9, raw<std::uint32_t>(7) + raw<std::uint64_t>(2) + std::string("\1\0", 2))};
  const auto file = parse(raw_file);
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i8"), -3);
  EXPECT_EQ(file.integer("u16"), 60000);
  EXPECT_EQ(file.integer("i16"), -300);
  EXPECT_EQ(file.integer("u32"), 4'000'000'000);
  EXPECT_EQ(file.integer("i32"), -70000);
  EXPECT_EQ(file.integer("i64"), -5);
  EXPECT_EQ(file.number("f32"), 1.5);
  EXPECT_EQ(file.number("f64"), 2.25);
  EXPECT_EQ(file.number("u8"), 200.0);
  EXPECT_EQ(file.boolean("bool"), true);
  EXPECT_EQ(*file.string("string"), "text");
  EXPECT_THAT(*file.integers("array"), testing::ElementsAre(7, -8));
  EXPECT_THAT(*file.strings("strings"), testing::ElementsAre("x"));
  EXPECT_THAT(*file.floats("floats"), testing::ElementsAre(0.5));
  EXPECT_EQ(std::get<std::uint64_t>(file.find("u64")->value), ~0ull);
  EXPECT_FALSE(file.integer("absent"));
  EXPECT_EQ(file.strings("absent"), nullptr);
  expect_refused([&] { file.integer("u64"); }, Errc::bad_format, {"u64", "18446744073709551615"});
  expect_refused([&] { file.integer("string"); }, Errc::bad_format, {"string", "expected an integer, found a string"});
  expect_refused([&] { file.boolean("u8"); }, Errc::bad_format, {"u8", "expected a bool, found an integer"});
  expect_refused([&] { file.strings("array"); }, Errc::bad_format, {"array", "array of strings", "integers"});
}

TEST(Gguf, PlacesTensors) {
  const auto raw_file = two_tensors();
  const auto bytes = raw_file.bytes();
  const auto file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_THAT(file.tensors()[1].shape, testing::ElementsAre(2, 4));  // ne is in the reverse order
  EXPECT_EQ(file.tensors()[0].offset, bytes.size() - 64);
  EXPECT_EQ(file.tensors()[1].offset, bytes.size() - 32);
  EXPECT_EQ(file.tensors()[1].bytes, 32u);
  EXPECT_EQ(file.find_tensor("b"), &file.tensors()[1]);
  EXPECT_EQ(file.find_tensor("c"), nullptr);
}

TEST(Gguf, AcceptsVersion2TrailingBytesAndAnyTensorOrder) {
  RawGguf file = two_tensors();
  file.version = 2;
  file.data += "trailing";
  std::swap(file.tensors[0], file.tensors[1]);
  EXPECT_EQ(parse(file).tensors()[0].name, "b");
}

TEST(Gguf, WriteReadWriteIsExact) {
  const TempFolder folder;
  auto parts = gguf_parts(golden_model("gemma3"), TensorType::q8_0);
  parts["tokenizer.ggml.tokens"].value =
      GgufValue::Strings{"a", "", std::string("\0\xff", 2), "longer than a small string"};
  parts["tokenizer.ggml.scores"].value = GgufValue::Floats{0.0, -1.5, 3.25};
  parts["own.key.nobody.knows"] = {std::int64_t{-5}, 1u};
  parts["own.f64"] = {0.1, 12u};
  parts["own.u64"].value = std::uint64_t{~0ull};
  parts["own.u16s"] = {GgufValue::Integers{1, 65535}, 2u};
  parts.writer().write(folder / "first.gguf", false);
  const auto first = GgufFile::open(folder / "first.gguf");

  std::ifstream in(folder / "first.gguf", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  GgufWriter again;
  again.add_metadata_of(first);
  for (const auto& tensor : first.tensors())
    again.add_tensor(tensor.name, *tensor_type_from_ggml(tensor.ggml_type), tensor.shape,
                     as_bytes(std::string_view(bytes).substr(tensor.offset, tensor.bytes)));
  const auto second = again.bytes();
  ASSERT_EQ(second.size(), bytes.size());
  EXPECT_EQ(std::memcmp(second.data(), bytes.data(), bytes.size()), 0);
  EXPECT_EQ(bytes.size() % 32, 0u);
  EXPECT_THAT(*first.strings("tokenizer.ggml.tokens"), testing::Contains(std::string("\0\xff", 2)));
  expect_refused([&] { again.add("own.f64", {1.0}); }, Errc::invalid_argument, {"own.f64", "repeated"});
  again.add("own.small", {std::int64_t{300}, 0u});
  expect_refused([&] { again.bytes(); }, Errc::invalid_argument, {"own.small", "300"});
}

// --- hostile input
// ----------------------------------------------------------------------------------------------------

TEST(GgufHostile, EveryLengthBelowAHeader) {
  const std::string good = two_tensors().bytes();
  for (std::size_t n = 0; n < 24; ++n)
    expect_refused([&] { parse(good.substr(0, n)); }, Errc::bad_format, {"a.gguf", "24 bytes"});
}

TEST(GgufHostile, EveryLengthOfASmallFile) {
  const std::string good = two_tensors().bytes();
  for (std::size_t n = 24; n < good.size(); ++n)
    expect_refused([&] { parse(good.substr(0, n)); }, Errc::bad_format, {"a.gguf"});
}

TEST(GgufHostile, Magic) {
  for (const auto* old : {"GGML", "ggml", "ggjt", "ggla"}) {
    RawGguf file = two_tensors();
    file.magic = old;
    refuse(file, Errc::bad_format, {"magic", "old format", old});
  }
  RawGguf file = two_tensors();
  file.magic = "FUGG";
  refuse(file, Errc::unsupported, {"magic", "byte-swapped"});
  file.magic = "PK\3\4";
  refuse(file, Errc::bad_format, {"magic", "50 4b 03 04"});
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 98362432\n";
  expect_refused([&] { parse(pointer); }, Errc::bad_format, {"a.gguf", "git-LFS"});
}

TEST(GgufHostile, Version) {
  for (const std::uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    RawGguf file = two_tensors();
    file.version = version;
    refuse(file, Errc::bad_version, {"version", std::to_string(version)});
  }
  RawGguf file = two_tensors();
  file.version = 0x03000000u;
  refuse(file, Errc::unsupported, {"version", "big-endian"});
}

TEST(GgufHostile, Counts) {
  for (const std::uint64_t count : {1ull << 31, 1ull << 32, 1ull << 63, ~0ull, 262'145ull}) {
    RawGguf file = two_tensors();
    file.n_tensors = count;
    refuse(file, Errc::bad_format, {"tensor count", std::to_string(count)});
    file.n_tensors.reset();
    file.n_keys = count;
    refuse(file, Errc::bad_format, {"key count", std::to_string(count)});
  }
  RawGguf empty;
  EXPECT_TRUE(parse(empty).tensors().empty());  // counts of 0: a file that says nothing
  for (const std::uint64_t fewer : {0, 1}) {    // what is not counted is read as something else, or not at all
    RawGguf one = two_tensors();
    one.n_keys = fewer;
    try {
      EXPECT_LE(parse(one).tensors().size(), 2u);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::bad_format) << error.what();
    }
    one = two_tensors();
    one.n_tensors = fewer;
    EXPECT_EQ(parse(one).tensors().size(), fewer);
  }
  RawGguf file = two_tensors();
  file.n_tensors = 3;  // one more than there is
  refuse(file, Errc::bad_format, {});
  file.n_tensors = 262'144;  // within the limit, but not within the file
  refuse(file, Errc::bad_format, {"tensor count", "262144"});
}

TEST(GgufHostile, Keys) {
  refuse(with_key(raw_key("", 4, raw(1u))), Errc::bad_format, {"key", "empty"});
  refuse(with_key(raw_u32_key("general.architecture", 1)), Errc::bad_format, {"general.architecture", "duplicate"});
  refuse(with_key(raw_u32_key("\xff\xfe", 1)), Errc::bad_format, {"key", "UTF-8"});
  refuse(with_key(raw_u32_key(std::string_view("a\0b", 3), 1)), Errc::bad_format, {"key", "UTF-8"});
  refuse(with_key(raw<std::uint64_t>(1ull << 63) + "x"), Errc::bad_format, {"key length"});
  refuse(with_key(raw<std::uint64_t>(1000) + "x"), Errc::bad_format, {"key length"});
  refuse(with_key(raw_u32_key(std::string(65'536, 'k'), 1)), Errc::bad_format, {"key length", "65536"});
}

TEST(GgufHostile, Values) {
  refuse(with_key(raw_key("k", 13, raw(1u))), Errc::bad_format, {"k", "unknown value type 13"});
  refuse(with_key(raw_key("k", 255, raw(1u))), Errc::bad_format, {"k", "unknown value type 255"});
  refuse(with_key(raw_key("k", 7, "\2")), Errc::bad_format, {"k", "bool", "2"});
  RawGguf file = with_key(raw_key("k", 8, raw<std::uint64_t>(6) + "12345"));  // one byte beyond the end
  file.alignment = 1;
  refuse(file, Errc::bad_format, {"k", "6"});
  refuse(with_key(raw_key("k", 8, raw<std::uint64_t>((16u << 20) + 1))), Errc::bad_format, {"k", "16777217"});
}

TEST(GgufHostile, Arrays) {
  const auto array = [](std::uint32_t type, std::uint64_t count, std::string_view elements = "") {
    return with_key(raw_key("k", 9, raw(type) + raw(count) + std::string(elements)));
  };
  refuse(array(9, 1, raw<std::uint32_t>(4)), Errc::bad_format, {"k", "arrays of arrays"});
  refuse(array(13, 1), Errc::bad_format, {"k", "unknown element type 13"});
  for (const std::uint64_t count : {1ull << 24, (1ull << 24) + 1, 1ull << 61, 1ull << 62, ~0ull})
    for (const std::uint32_t type : {0u, 4u, 6u, 7u, 8u, 10u})
      refuse(array(type, count), Errc::bad_format, {"k", std::to_string(count)});
  refuse(array(7, 2, "\1\2"), Errc::bad_format, {"k", "bool", "2"});
  refuse(array(8, 2, raw_string("whole") + raw<std::uint64_t>(40) + "cut"), Errc::bad_format, {"k"});
  refuse(array(10, 1, raw<std::uint64_t>(~0ull)), Errc::bad_format, {"k", "18446744073709551615"});
}

TEST(GgufHostile, ManySmallArraysCannotFillTheMemory) {
  RawGguf file;
  for (int k = 0; k < 20; ++k)  // 20 MiB of bytes that would become 160 MiB of integers
    file.keys.push_back(raw_key("key" + std::to_string(k), 9,
                                raw<std::uint32_t>(0) + raw<std::uint64_t>(1u << 20) + std::string(1u << 20, 'x')));
  const std::string bytes = file.bytes();
  EXPECT_THROW(parse(bytes), Error);
}

TEST(GgufHostile, Alignment) {
  for (const std::uint32_t alignment : {0u, 3u, 4u, 33u, 1u << 21, 1u << 30, 1u << 31})
    refuse(with_key(raw_u32_key("general.alignment", alignment)), Errc::bad_format,
           {"general.alignment", std::to_string(alignment)});
  refuse(with_key(raw_string_key("general.alignment", "32")), Errc::bad_format,
         {"general.alignment", "expected an integer, found a string"});
  RawGguf file = two_tensors();
  file.keys.push_back(raw_u32_key("general.alignment", 64));
  file.alignment = 64;
  refuse(file, Errc::bad_format, {"tensor 'b'", "32", "alignment 64"});
}

TEST(GgufHostile, TensorNames) {
  refuse(with_tensor(raw_tensor("", {8}, 0, 32)), Errc::bad_format, {"tensor name", "empty"});
  refuse(with_tensor(raw_tensor("a", {8}, 0, 32)), Errc::bad_format, {"tensor 'a'", "duplicate"});
  refuse(with_tensor(raw_tensor(std::string(256, 'n'), {8}, 0, 32)), Errc::bad_format, {"tensor name", "256"});
  refuse(with_tensor(raw_tensor("\xc3(", {8}, 0, 32)), Errc::bad_format, {"tensor name", "UTF-8"});
  EXPECT_EQ(parse(with_tensor(raw_tensor(std::string(255, 'n'), {8}, 0, 32))).tensors()[1].name.size(), 255u);
}

TEST(GgufHostile, Dimensions) {
  for (const std::uint32_t n : {0u, 5u, 0xffffffffu})
    refuse(with_tensor(raw_tensor("b", {8}, 0, 32, n)), Errc::bad_format,
           {"tensor 'b'", "dimensions", std::to_string(n)});
  refuse(with_tensor(raw_tensor("b", {0}, 0, 32)), Errc::bad_format, {"tensor 'b'", "dimension 0 is 0"});
  refuse(with_tensor(raw_tensor("b", {8, 0}, 0, 32)), Errc::bad_format, {"tensor 'b'", "dimension 1 is 0"});
  refuse(with_tensor(raw_tensor("b", {1ull << 63}, 0, 32)), Errc::bad_format, {"tensor 'b'", "2^40"});
  refuse(with_tensor(raw_tensor("b", {1ull << 32, 1ull << 32}, 0, 32)), Errc::bad_format, {"tensor 'b'", "2^40"});
  refuse(with_tensor(raw_tensor("b", {1ull << 20, 1ull << 20, 1ull << 20, 16}, 0, 32)), Errc::bad_format,
         {"tensor 'b'"});
  refuse(with_tensor(raw_tensor("b", {48}, 2, 32)), Errc::bad_format, {"tensor 'b'", "48", "Q4_0", "32"});
  refuse(with_tensor(raw_tensor("b", {128}, 12, 32)), Errc::bad_format, {"tensor 'b'", "Q4_K", "256"});
}

TEST(GgufHostile, TensorTypes) {
  for (const std::uint32_t type : {99u, 43u, 0xffffffffu})
    refuse(with_tensor(raw_tensor("b", {8}, type, 32)), Errc::unsupported,
           {"tensor 'b'", "unsupported tensor type", std::to_string(type)});
  for (const auto& [type, name] : std::vector<std::pair<std::uint32_t, const char*>>{{39, "MXFP4"},
                                                                                     {4, "Q4_2"},
                                                                                     {9, "Q8_1"},
                                                                                     {16, "IQ2_XXS"},
                                                                                     {29, "IQ1_M"},
                                                                                     {31, "Q4_0_4_4"},
                                                                                     {34, "TQ1_0"},
                                                                                     {26, "I32"},
                                                                                     {28, "F64"}})
    refuse(with_tensor(raw_tensor("b", {8}, type, 32)), Errc::unsupported, {"tensor 'b'", name});
}

TEST(GgufHostile, Offsets) {
  refuse(with_tensor(raw_tensor("b", {8}, 0, 33)), Errc::bad_format, {"tensor 'b'", "33", "alignment 32"});
  refuse(with_tensor(raw_tensor("b", {8}, 0, 64)), Errc::bad_format, {"tensor 'b'", "64", "beyond the file"});
  refuse(with_tensor(raw_tensor("b", {8}, 0, ~0ull - 31)), Errc::bad_format, {"tensor 'b'", "beyond the file"});
  refuse(with_tensor(raw_tensor("b", {8}, 0, 0)), Errc::bad_format, {"overlaps"});
  RawGguf file = two_tensors();
  file.data.pop_back();
  refuse(file, Errc::bad_format, {"tensor 'b'", "beyond the file"});
  file = two_tensors();
  file.tensors[0] = raw_tensor("a", {9}, 0, 0);
  refuse(file, Errc::bad_format, {"tensor 'b'", "overlaps tensor 'a'"});
}

TEST(GgufHostile, TruncatedAnywhere) {
  const auto good = gguf_parts(golden_model("llama")).writer().bytes();
  const std::string_view bytes(reinterpret_cast<const char*>(good.data()), good.size());
  const auto header = GgufFile::parse(good, good.size(), "good");
  std::vector<std::size_t> cuts(4096);
  for (std::size_t i = 0; i < cuts.size(); ++i) cuts[i] = i;
  for (const auto& tensor : header.tensors()) {
    cuts.push_back(tensor.offset);
    cuts.push_back(tensor.offset + tensor.bytes - 1);
  }
  for (const auto cut : cuts) try {
      parse(std::string(bytes.substr(0, cut)));
      ADD_FAILURE() << "accepted when cut to " << cut << " bytes";
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), Errc::bad_format) << error.what();
    }
}

TEST(GgufHostile, MutantsAreReadOrRefused) {
  const auto good = gguf_parts(golden_model("llama")).writer().bytes();
  const std::size_t header = GgufFile::parse(good, good.size(), "good").tensors().front().offset;
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr std::array<std::uint64_t, 8> kNumbers{0, 1, 32, 255, 1ull << 31, 1ull << 40, 1ull << 63, ~0ull};
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (unsigned k = 0; k <= random() % 3; ++k) {
      const std::size_t at = random() % (header - 8);
      if (random() % 2 == 0)
        bytes[at] = static_cast<std::byte>(random());
      else
        std::memcpy(&bytes[at], &kNumbers[random() % kNumbers.size()], sizeof(std::uint64_t));
    }
    try {
      GgufFile::parse(std::span<const std::byte>(bytes).first(header), bytes.size(), "mutant");
    } catch (const Error&) {
    }
  }
}

TEST(GgufHostile, SparseFileOfTenTerabytes) {
  const TempFolder folder;
  RawGguf file = two_tensors();
  file.n_tensors = 200'000;
  {
    std::ofstream out(folder / "sparse.gguf", std::ios::binary);
    out << file.bytes();
  }
  std::error_code failed;
  std::filesystem::resize_file(folder / "sparse.gguf", 10ull << 40, failed);
  if (failed) GTEST_SKIP() << "the file system has no files of 10 TB: " << failed.message();
  expect_refused([&] { GgufFile::open(folder / "sparse.gguf"); }, Errc::bad_format, {"sparse.gguf"});
}

TEST(GgufHostile, NotAFile) {
  const TempFolder folder;
  expect_refused([&] { GgufFile::open(folder / "absent.gguf"); }, Errc::not_found, {"absent.gguf"});
  expect_refused([&] { GgufFile::open(folder.path()); }, Errc::unreadable, {"not a regular file"});
  expect_refused([&] { GgufFile::open("/dev/zero"); }, Errc::unreadable, {"/dev/zero"});
  std::filesystem::create_symlink("loop.gguf", folder / "loop.gguf");
  expect_refused([&] { GgufFile::open(folder / "loop.gguf"); }, Errc::unreadable, {"loop.gguf"});
}

// --- split files
// ------------------------------------------------------------------------------------------------------

class SplitGguf : public testing::Test {
 protected:
  /// Part `number` of `count` with one tensor of 8 values.
  static RawGguf part(std::uint16_t number, std::uint16_t count) {
    RawGguf file;
    if (number == 0) file.keys.push_back(raw_string_key("general.architecture", "llama"));
    file.keys.push_back(raw_key("split.no", 2, raw(number)));
    file.keys.push_back(raw_key("split.count", 2, raw(count)));
    file.keys.push_back(raw_key("split.tensors.count", 5, raw<std::int32_t>(count)));
    file.tensors = {raw_tensor("t" + std::to_string(number), {8}, 0, 0)};
    file.data.assign(32, static_cast<char>(number));
    return file;
  }
  std::filesystem::path write(const std::string& name, const RawGguf& file) {
    std::ofstream(folder_ / name, std::ios::binary) << file.bytes();
    return folder_ / name;
  }
  void write_three() {
    write("m-00001-of-00003.gguf", part(0, 3));
    write("m-00002-of-00003.gguf", part(1, 3));
    write("m-00003-of-00003.gguf", part(2, 3));
  }
  TempFolder folder_;
};

TEST_F(SplitGguf, AnyPartOpensTheWhole) {
  write_three();
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto file = GgufFile::open(folder_ / name);
    ASSERT_EQ(file.tensors().size(), 3u);
    EXPECT_EQ(file.tensors()[2].name, "t2");
    EXPECT_EQ(file.tensors()[2].part, 2);
    EXPECT_EQ(file.paths().size(), 3u);
    EXPECT_EQ(*file.string("general.architecture"), "llama");
  }
}

TEST_F(SplitGguf, MissingPart) {
  write_three();
  std::filesystem::remove(folder_ / "m-00002-of-00003.gguf");
  expect_refused([&] { GgufFile::open(folder_ / "m-00001-of-00003.gguf"); }, Errc::not_found,
                 {"m-00002-of-00003.gguf"});
}

TEST_F(SplitGguf, WrongOrderCountOrName) {
  write_three();
  write("m-00002-of-00003.gguf", part(2, 3));
  expect_refused([&] { GgufFile::open(folder_ / "m-00001-of-00003.gguf"); }, Errc::bad_format,
                 {"m-00002-of-00003.gguf", "split.no", "part 2 of 3"});
  write("m-00002-of-00003.gguf", part(1, 2));
  expect_refused([&] { GgufFile::open(folder_ / "m-00001-of-00003.gguf"); }, Errc::bad_format, {"split.no"});
  const auto lonely = write("lonely.gguf", part(0, 3));
  expect_refused([&] { GgufFile::open(lonely); }, Errc::bad_format, {"lonely.gguf", "split.count"});
}

TEST_F(SplitGguf, RepeatedOrMissingTensor) {
  write_three();
  RawGguf repeated = part(1, 3);
  repeated.tensors = {raw_tensor("t0", {8}, 0, 0)};
  write("m-00002-of-00003.gguf", repeated);
  expect_refused([&] { GgufFile::open(folder_ / "m-00001-of-00003.gguf"); }, Errc::bad_format,
                 {"m-00002-of-00003.gguf", "tensor 't0'"});
  RawGguf empty = part(1, 3);
  empty.tensors.clear();
  write("m-00002-of-00003.gguf", empty);
  expect_refused([&] { GgufFile::open(folder_ / "m-00001-of-00003.gguf"); }, Errc::bad_format,
                 {"split.tensors.count", "3", "found 2"});
}

}  // namespace
}  // namespace headlight::formats
