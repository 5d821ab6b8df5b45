#include "base/error.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"

namespace headlight {
namespace {

TEST(Error, SentenceNamesFileFieldAndOffset) {
  const Error error(Errc::bad_format, "expected 1, found 2",
                    {.file = "m.gguf", .field = "n_dims", .offset = 12, .hint = {}});
  EXPECT_STREQ(error.what(), "m.gguf: n_dims at byte 12: expected 1, found 2");
  EXPECT_EQ(error.message(), "expected 1, found 2");
}

TEST(Error, FileIsAddedOnceOnly) {
  const Error error = Error(Errc::bad_format, "bad").in_file("inner").in_file("outer");
  EXPECT_STREQ(error.what(), "inner: bad");
}

TEST(Error, ExitCodesFollowTheContract) {
  EXPECT_EQ(exit_code(Errc::failed), 1);
  EXPECT_EQ(exit_code(Errc::output_exists), 2);
  EXPECT_EQ(exit_code(Errc::changed), 3);
  EXPECT_EQ(exit_code(Errc::damaged), 4);
  EXPECT_EQ(exit_code(Errc::unsupported), 5);
  EXPECT_EQ(exit_code(Errc::io), 6);
  EXPECT_EQ(exit_code(Errc::check_failed), 7);
  EXPECT_EQ(exit_code(Errc::partial), 8);
  EXPECT_EQ(exit_code(Errc::cancelled), 130);
}

TEST(Error, BrokenContractIsLoud) {
  EXPECT_THROW(HEADLIGHT_CHECK(1 == 2), ContractViolation);
  EXPECT_NO_THROW(HEADLIGHT_CHECK(1 == 1));
}

TEST(ByteReader, ReadsLittleEndianAndKnowsItsPlace) {
  const std::byte bytes[] = {std::byte{1}, std::byte{2}, std::byte{0}, std::byte{0}, std::byte{9}};
  ByteReader reader(bytes, 100);
  EXPECT_EQ(reader.read<std::uint32_t>("n"), 0x201u);
  EXPECT_EQ(reader.offset(), 104u);
  EXPECT_EQ(reader.remaining(), 1u);
}

TEST(ByteReader, NeverReadsPastTheEnd) {
  const std::byte bytes[3] = {};
  ByteReader reader(bytes);
  try {
    reader.read<std::uint32_t>("version");
    FAIL() << "read past the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::bad_format);
    EXPECT_EQ(error.context().field, "version");
  }
  EXPECT_EQ(reader.offset(), 0u);
}

TEST(ByteReader, CountsAreCheckedAgainstLimitAndBytesLeft) {
  std::byte bytes[16] = {};
  bytes[0] = std::byte{4};
  EXPECT_EQ(ByteReader(bytes).read_count(10, 2, "n"), 4u);
  EXPECT_THROW(ByteReader(bytes).read_count(3, 1, "n"), Error);
  EXPECT_THROW(ByteReader(bytes).read_count(10, 3, "n"), Error);
  for (auto& b : bytes) b = std::byte{0xff};
  EXPECT_THROW(ByteReader(bytes).read_count(UINT64_MAX, 8, "n"), Error);
}

}  // namespace
}  // namespace headlight
