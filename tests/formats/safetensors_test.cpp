#include "core/formats/safetensors.h"

#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/formats/model_file.h"
#include "tests/support/raw_gguf.h"
#include "tests/support/refusal.h"
#include "tests/support/synthetic_model.h"
#include "tests/support/temp_folder.h"

namespace headlight::formats {
namespace {

using namespace testing_support;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return raw<std::uint64_t>(header.size()) + header + std::string(data_bytes, '\1');
}

SafetensorsFile parse(const std::string& bytes) {
  return SafetensorsFile::parse(as_bytes(bytes), bytes.size(), "a.st");
}

void refuse_bytes(const std::string& bytes, Errc code, std::initializer_list<std::string_view> mentions) {
  const auto text = expect_refused([&] { parse(bytes); }, code, mentions);
  EXPECT_NE(text.find("a.st"), std::string::npos) << text;
}

void refuse(const std::string& header, std::size_t data_bytes, std::initializer_list<std::string_view> mentions,
            Errc code = Errc::bad_format) {
  refuse_bytes(file_of(header, data_bytes), code, mentions);
}

/// {"t": {"dtype": "F32", "shape": ..., "data_offsets": ...}}
std::string entry(const std::string& shape, const std::string& offsets, const std::string& dtype = "\"F32\"") {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

const std::string kTwo =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]}})";

TEST(Safetensors, ReadsHeaderMetadataAndPadding) {
  const auto file = parse(file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},)"
      R"("s":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"a":{"shape":[2,2],"data_offsets":[0,8],"dtype":"BF16"},)"
      R"("e":{"dtype":"F32","shape":[0,4],"data_offsets":[8,8]}}   )",
      20));
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.tensors()[0].name, "a");  // by offset
  EXPECT_EQ(file.tensors()[0].type(), TensorType::bf16);
  EXPECT_TRUE(file.find("s")->shape.empty());
  EXPECT_EQ(file.find("e")->bytes, 0u);
  EXPECT_FALSE(file.find("b")->type());
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(SafetensorsHostile, ShortFilesAndLengths) {
  for (std::size_t n = 0; n < 8; ++n) refuse_bytes(std::string(n, '\0'), Errc::bad_format, {"8 bytes"});
  for (const std::uint64_t length : {0ull, 1ull << 63, ~0ull, 100'000'001ull, 1000ull})
    refuse_bytes(raw(length) + kTwo, Errc::bad_format, {"header length", std::to_string(length)});
  const std::string good = file_of(kTwo, 12);
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_THROW(parse(good.substr(0, n)), Error) << "cut to " << n;
  refuse_bytes("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", Errc::bad_format, {"git-LFS"});
}

TEST(SafetensorsHostile, NotTheRightJson) {
  refuse("[1,2]", 0, {"header", "'{'"});
  refuse(" {}", 0, {"header", "'{'"});
  refuse("{\"a\":", 0, {"not valid JSON"});
  refuse(std::string("{}\0", 3), 0, {"NUL"});
  refuse("{}x", 0, {"not valid JSON"});
  refuse("{\"\xff\":1}", 0, {"not valid JSON"});
  refuse("{/**/}", 0, {"not valid JSON"});
  refuse(std::string("{\"a\":") + std::string(100'000, '['), 0, {"expected an object, found an array"});
  std::string deep = "{";
  for (int i = 0; i < 100'000; ++i) deep += "\"a\":{";
  refuse(deep, 0, {});
  refuse(R"({"t":null})", 0, {"expected an object, found null"});
  refuse(R"({"t":{}})", 0, {"tensor 't'", "dtype"});
  refuse(R"({"":{}})", 0, {"1 to 4096"});
}

TEST(SafetensorsHostile, Entries) {
  refuse(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4, {"tensor 't'", "'dtype' is required"});
  refuse(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4, {"tensor 't'", "'shape' is required"});
  refuse(R"({"t":{"dtype":"F32","shape":[1]}})", 4, {"tensor 't'", "'data_offsets' is required"});
  refuse(R"({"t":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, {"tensor 't'", "duplicate"});
  refuse(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}})", 4, {"tensor 't'", "unknown key 'more'"});
  refuse(
      R"({"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
      0, {"tensor 't'", "duplicate"});
  refuse(R"({"__metadata__":{},"__metadata__":{}})", 0, {"duplicate"});
  refuse(R"({"__metadata__":{"a":1}})", 0, {"__metadata__.a", "expected a string, found 1"});
  refuse(R"({"__metadata__":{"a":"1","a":"2"}})", 0, {"__metadata__.a", "duplicate"});
  refuse(R"({"__metadata__":[]})", 0, {"expected an object"});
}

TEST(SafetensorsHostile, Numbers) {
  for (const char* number : {"-1", "1.5", "1e400", "-0", "18446744073709551616", "\"4\"", "null", "true", "{}", "[4]"})
    refuse(entry("[" + std::string(number) + "]", "[0,4]"), 4, {});
  refuse(entry("[01]", "[0,4]"), 4, {"not valid JSON"});
  refuse(entry("[-1]", "[0,4]"), 4, {"tensor 't' shape", "-1"});
  refuse(entry("[1.5]", "[0,4]"), 4, {"tensor 't' shape", "1.5"});
  refuse(entry("[1]", "[0,-4]"), 4, {"tensor 't' data_offsets", "-4"});
  refuse(entry("[1]", "[0]"), 4, {"data_offsets", "expected 2 numbers, found 1"});
  refuse(entry("[1]", "[0,4,8]"), 4, {"data_offsets", "at most 2"});
  refuse(entry("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, {"tensor 't' shape", "at most 8"});
  std::string rank = "[1";
  for (int i = 1; i < 1000; ++i) rank += ",1";
  refuse(entry(rank + "]", "[0,4]"), 4, {"at most 8"});
}

TEST(SafetensorsHostile, ShapesAndOffsets) {
  refuse(entry("[4294967296,4294967296]", "[0,4]"), 4, {"tensor 't' shape", "2^40"});
  refuse(entry("[18446744073709551615,2]", "[0,4]"), 4, {"tensor 't' shape", "2^40"});
  refuse(entry("[2]", "[0,4]"), 4, {"tensor 't' data_offsets", "need 8 bytes, found 4"});
  refuse(entry("[1]", "[4,0]"), 4, {"tensor 't' data_offsets", "before begin"});
  refuse(entry("[1]", "[0,4]"), 3, {"beyond the 3 bytes"});
  refuse(entry("[1]", "[18446744073709551612,18446744073709551615]"), 4, {"beyond"});
  refuse(entry("[1]", "[0,4]"), 5, {"1 bytes follow the last tensor"});
  refuse(entry("[1]", "[4,8]"), 8, {"tensor 't'", "hole"});
  refuse(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      12, {"tensor 'b'", "overlaps"});
  refuse("{}", 4, {"4 bytes follow"});
}

TEST(SafetensorsHostile, Dtypes) {
  for (const char* dtype : {"f32", "F8_E4M3", "F8_E5M2", "F4", "C64", "", "float32"})
    refuse(entry("[1]", "[0,4]", "\"" + std::string(dtype) + "\""), 4, {"tensor 't'", "unsupported dtype", dtype},
           Errc::unsupported);
  refuse(entry("[1]", "[0,4]", "32"), 4, {"tensor 't' dtype", "expected a string, found 32"});
}

TEST(SafetensorsHostile, MutantsAreReadOrRefused) {
  const std::string good = file_of(kTwo, 12);
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr std::string_view kBytes = "{}[]\",:0123456789-.eEF\\ \t\n\0";
  for (int round = 0; round < 30'000; ++round) {
    std::string bytes = good;
    for (unsigned k = 0; k <= random() % 4; ++k)
      bytes[random() % bytes.size()] = random() % 2 ? kBytes[random() % kBytes.size()] : static_cast<char>(random());
    try {
      parse(bytes);
    } catch (const Error&) {
    }
  }
}

TEST(SafetensorsHostile, SparseFileWithALongHeader) {
  const TempFolder folder;
  for (const char* start : {"", "{"}) {
    std::ofstream(folder / "sparse.safetensors", std::ios::binary) << raw<std::uint64_t>(100'000'000) << start;
    std::filesystem::resize_file(folder / "sparse.safetensors", 200'000'000);
    expect_refused([&] { SafetensorsFile::open(folder / "sparse.safetensors"); }, Errc::bad_format,
                   {"sparse.safetensors", "header"});
  }
}

// --- shards
// -----------------------------------------------------------------------------------------------------------

class Shards : public testing::Test {
 protected:
  /// The tiny llama in two shards; returns the index.
  Json write_shards() {
    auto model = golden_model("llama");
    write_safetensors(model, folder_.path());
    std::filesystem::rename(folder_ / "model.safetensors", folder_ / "whole.safetensors");
    Json map = Json::object();
    std::vector<SyntheticTensor> halves[2];
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      const std::size_t part = i % 2;
      map[model.tensors[i].name] = "model-0000" + std::to_string(part + 1) + "-of-00002.safetensors";
      halves[part].push_back(model.tensors[i]);
    }
    halves[1].push_back({"extra.tensor", {2}, "vector", {1.0f, 2.0f}});
    for (int part = 0; part < 2; ++part)
      write_safetensors_file(halves[part],
                             folder_ / ("model-0000" + std::to_string(part + 1) + "-of-00002.safetensors"));
    return {{"metadata", {{"total_size", 592128}}}, {"weight_map", map}};
  }
  void write_index(const Json& index) { std::ofstream(folder_ / "model.safetensors.index.json") << index.dump(); }
  void refuse(const Json& index, Errc code, std::initializer_list<std::string_view> mentions) {
    write_index(index);
    expect_refused([&] { SafetensorsFile::open_folder(folder_.path()); }, code, mentions);
  }
  TempFolder folder_;
};

TEST_F(Shards, OpenLikeOneFile) {
  write_index(write_shards());
  const auto sharded = open_model(folder_.path());
  EXPECT_EQ(sharded.files.size(), 2u);
  const auto whole = SafetensorsFile::open(folder_ / "whole.safetensors");
  EXPECT_EQ(SafetensorsFile::open_folder(folder_.path()).tensors().size(), whole.tensors().size());
  EXPECT_EQ(open_model(folder_ / "model-00002-of-00002.safetensors").weights.all().size(),
            sharded.weights.all().size());
}

TEST_F(Shards, NamesOutsideTheFolder) {
  const Json good = write_shards();
  for (const char* name : {"../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b"}) {
    Json index = good;
    index["weight_map"]["model.norm.weight"] = name;
    refuse(index, Errc::bad_format, {"model.safetensors.index.json", "weight_map.model.norm.weight", "plain name"});
  }
}

TEST_F(Shards, MissingShardOrTensor) {
  const Json good = write_shards();
  Json index = good;
  index["weight_map"]["model.norm.weight"] = "absent.safetensors";
  refuse(index, Errc::not_found, {"absent.safetensors"});
  index = good;
  index["weight_map"]["no.such.tensor"] = "model-00001-of-00002.safetensors";
  refuse(index, Errc::bad_format, {"model-00001-of-00002.safetensors", "no.such.tensor"});
  index["weight_map"]["no.such.tensor"] = 3;
  refuse(index, Errc::bad_format, {"weight_map.no.such.tensor", "expected a string"});
  refuse(Json{{"metadata", {}}}, Errc::bad_format, {"weight_map"});
  refuse(Json{{"weight_map", {1}}}, Errc::bad_format, {"weight_map"});
}

TEST_F(Shards, ATensorThatTwoShardsHoldComesFromTheOneThatIsNamed) {
  const auto model = golden_model("llama");
  Json index = write_shards();
  std::vector<SyntheticTensor> second{{"extra.tensor", {2}, "vector", {1.0f, 2.0f}}};
  for (std::size_t i = 0; i < model.tensors.size(); ++i)
    if (i % 2 == 1 || i == 0) second.push_back(model.tensors[i]);
  for (float& value : second[1].values) value = -1.0f;  // of the first shard's first tensor
  write_safetensors_file(second, folder_ / "model-00002-of-00002.safetensors");
  write_index(index);
  const auto opened = SafetensorsFile::open_folder(folder_.path());
  EXPECT_EQ(opened.tensors().size(), model.tensors.size());
  index["weight_map"][model.tensors[0].name] = "model-00003-of-00002.safetensors";
  refuse(index, Errc::not_found, {"model-00003-of-00002.safetensors"});
}

TEST_F(Shards, SymbolicLinksThatGoInCircles) {
  write_index(write_shards());
  std::filesystem::remove(folder_ / "model-00001-of-00002.safetensors");
  std::filesystem::create_symlink("model-00001-of-00002.safetensors", folder_ / "model-00001-of-00002.safetensors");
  expect_refused([&] { open_model(folder_.path()); }, Errc::unreadable, {"model-00001-of-00002.safetensors"});
}

TEST(Safetensors, DataAtAnyAddress) {
  const TempFolder folder;
  write_safetensors(golden_model("llama"), folder / "even");
  std::filesystem::create_directories(folder / "odd");
  std::filesystem::copy_file(folder / "even" / "config.json", folder / "odd" / "config.json");
  std::ifstream in(folder / "even" / "model.safetensors", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  bytes = raw<std::uint64_t>(length + 1) + bytes.substr(8, length) + " " + bytes.substr(8 + length);
  std::ofstream(folder / "odd" / "model.safetensors", std::ios::binary) << bytes;
  const auto even = open_model(folder / "even"), odd = open_model(folder / "odd");
  for (const auto& [name, tensor] : even.weights.all()) {
    const auto& other = odd.weights.get(name, tensor.rows, tensor.cols);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(other.data) % 4, 0u) << name;
    EXPECT_EQ(std::memcmp(tensor.data, other.data, tensor.bytes()), 0) << name;
  }
}

}  // namespace
}  // namespace headlight::formats
