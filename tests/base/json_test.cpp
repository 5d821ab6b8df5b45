#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace headlight {
namespace {

std::string message_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::bad_format);
    return error.what();
  }
  return "accepted";
}

TEST(Json, KeepsKeyOrderAndValues) {
  const Json json = parse_json(R"({"z": 1, "a": [true, null, -2.5e3, "x"], "m": {"k": 18446744073709551615}})");
  EXPECT_EQ(dump_json(json, -1), R"({"z":1,"a":[true,null,-2500.0,"x"],"m":{"k":18446744073709551615}})");
}

TEST(Json, RefusesDuplicateKeysWithTheirPath) {
  EXPECT_EQ(message_of(R"({"a": {"b": 1, "b": 2}})"), "a: duplicate key 'b'");
  EXPECT_EQ(message_of(R"({"a": 1, "c": {}, "a": 2})"), "duplicate key 'a'");
}

TEST(Json, RefusesWhatIsNotStrict) {
  for (const char* text :
       {"", "{", "{} x", "// c\n{}", "{\"a\":01}", "{'a':1}", "[1,]", "nan", "\"\xff\"", "\xEF\xBB\xBF{}"})
    EXPECT_NE(message_of(text), "accepted") << text;
}

TEST(Json, RefusesIntegersBeyond64Bits) {
  EXPECT_NE(message_of("[123456789012345678901234567890]").find("does not fit 64 bits"), std::string::npos);
  EXPECT_EQ(parse_json("[1e300]")[0].get<double>(), 1e300);
}

TEST(Json, DepthAndSizeAreBounded) {
  const std::string deep(1000, '[');
  EXPECT_NE(message_of(deep).find("nested deeper than 64"), std::string::npos);
  EXPECT_NE(message_of("[1,2,3]", {.max_bytes = 3, .max_depth = 64}).find("exceeds the limit"), std::string::npos);
  EXPECT_EQ(message_of(std::string(64, '[') + std::string(64, ']')), "accepted");
}

TEST(Json, SyntaxErrorsCarryTheOffset) {
  try {
    parse_json("{\"a\": }");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.context().offset, 6u);
  }
}

TEST(Json, TypedAccessNamesPathAndTypes) {
  const Json json = parse_json(R"({"n": "x", "i": 1.5, "big": 18446744073709551615, "ok": 3})");
  EXPECT_EQ(json_integer(json, "ok"), 3);
  EXPECT_EQ(json_integer_or(json, "absent", 7), 7);
  EXPECT_EQ(json_number_or(json, "i", 0), 1.5);
  EXPECT_THROW(json_integer(json, "i"), Error);
  EXPECT_THROW(json_integer(json, "big"), Error);
  EXPECT_THROW(json_bool(json, "ok"), Error);
  try {
    json_number(json, "n", "rope_scaling");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "rope_scaling.n: expected a number, found string");
  }
  try {
    json_string(json, "absent");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "absent: is required but missing");
  }
}

TEST(Json, InvalidUtf8IsReplacedWhenPrinting) {
  EXPECT_EQ(dump_json(Json("a\xff"), -1), "\"a\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace headlight
