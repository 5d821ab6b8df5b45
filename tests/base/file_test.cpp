#include "base/file.h"

#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace headlight {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = (fs::temp_directory_path() / "headlight-file-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

template <class F>
Errc code_of(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  return Errc::internal;
}

TEST_F(FileTest, MissingFolderAndDeviceAreRefused) {
  EXPECT_EQ(code_of([&] { InputFile(folder_ / "nothing"); }), Errc::not_found);
  EXPECT_EQ(code_of([&] { InputFile{folder_}; }), Errc::unreadable);
  EXPECT_EQ(code_of([&] { InputFile("/dev/zero"); }), Errc::unreadable);
}

TEST_F(FileTest, ReadsAtAnOffsetAndNoticesAShrunkFile) {
  const auto path = write("a", "0123456789");
  const InputFile file(path);
  std::string text(4, ' ');
  file.read_at(3, std::as_writable_bytes(std::span(text.data(), text.size())));
  EXPECT_EQ(text, "3456");
  fs::resize_file(path, 5);
  EXPECT_EQ(code_of([&] { file.read_at(3, std::as_writable_bytes(std::span(text.data(), text.size()))); }),
            Errc::changed);
  EXPECT_EQ(code_of([&] { file.check_unchanged(); }), Errc::changed);
}

TEST_F(FileTest, TextHasASizeLimit) {
  const auto path = write("t", "hello");
  EXPECT_EQ(read_text_file(path, 5), "hello");
  EXPECT_EQ(code_of([&] { read_text_file(path, 4); }), Errc::bad_format);
}

TEST_F(FileTest, MappedBytesEqualTheFile) {
  const InputFile file(write("m", "abc"));
  const MappedFile mapped(file);
  EXPECT_EQ(mapped.bytes().size(), 3u);
  EXPECT_EQ(static_cast<char>(mapped.bytes()[1]), 'b');
  const InputFile empty(write("e", ""));
  EXPECT_TRUE(MappedFile(empty).bytes().empty());
}

TEST_F(FileTest, OutputAppearsOnlyWhenCommitted) {
  const auto path = folder_ / "out.txt";
  {
    OutputFile abandoned(path, false);
    abandoned.write("half");
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_EQ(entries(), 0u) << "the temporary file of an abandoned output stays";
  OutputFile file(path, false);
  file.write("whole");
  file.commit();
  EXPECT_EQ(read_text_file(path, 100), "whole");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, ExistingOutputNeedsForce) {
  const auto path = write("out", "old");
  EXPECT_EQ(code_of([&] { OutputFile(path, false); }), Errc::output_exists);
  OutputFile file(path, true);
  file.write("new");
  file.commit();
  EXPECT_EQ(read_text_file(path, 100), "new");
}

TEST_F(FileTest, OutputThatAppearedMeanwhileIsKept) {
  OutputFile file(folder_ / "out", false);
  file.write("mine");
  write("out", "theirs");
  EXPECT_EQ(code_of([&] { file.commit(); }), Errc::output_exists);
  EXPECT_EQ(read_text_file(folder_ / "out", 100), "theirs");
}

TEST_F(FileTest, OutputInAMissingFolderIsAnIoError) {
  EXPECT_EQ(code_of([&] { OutputFile(folder_ / "no" / "out", false); }), Errc::io);
  EXPECT_EQ(code_of([&] { check_output_path(folder_, true); }), Errc::invalid_argument);
}

TEST_F(FileTest, Sha256OfKnownTexts) {
  EXPECT_EQ(sha256_hex(std::string_view("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(std::string_view("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_file(write("abc", "abc")), sha256_hex(std::string_view("abc")));
}

}  // namespace
}  // namespace headlight
