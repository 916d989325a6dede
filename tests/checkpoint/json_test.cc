#include "hedgehog/checkpoint/json_cursor.h"
#include "hedgehog/checkpoint/json_file.h"

#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <limits>

namespace hedgehog {
namespace {

using hedgehog::testing::error_of;

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

void skip_all(std::string_view text) {
  JsonCursor cursor(text, "test");
  cursor.skip_value();
  cursor.expect_end();
}

TEST(JsonCursor, AgreesWithNlohmannOnWhatIsJson) {
  for (const std::string text : {"{}",
                                 "[]",
                                 "[1,2]",
                                 " {\"a\" : [ -0.5e+3 , 0, true,false,null, \"\\n\\u00e9\\ud83e\\udd94\"] }\n",
                                 "1",
                                 "-0",
                                 "\"x\"",
                                 "1e5",
                                 "0.10",
                                 "",
                                 " ",
                                 "{",
                                 "[",
                                 "[1,]",
                                 "{\"a\"}",
                                 "{\"a\":}",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "01",
                                 "+1",
                                 ".5",
                                 "1.",
                                 "1e",
                                 "--1",
                                 "tru",
                                 "nul",
                                 "\"",
                                 "\"\\x\"",
                                 "\"\\u12g4\"",
                                 "\"\\ud800\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\\udc00\"",
                                 "\"a\nb\"",
                                 "[1] 2",
                                 "]",
                                 "\"\xC3\xA9\"",
                                 "\"\xC0\x80\"",
                                 "\"\xED\xA0\x80\"",
                                 "\"\xF4\x90\x80\x80\"",
                                 "\"\xE2\x82\"",
                                 "\"\xFF\"",
                                 "'a'",
                                 "NaN",
                                 "[1 2]",
                                 "{\"a\":1 \"b\":2}",
                                 "/**/1",
                                 "\"\\",
                                 "\"\\u00"}) {
    bool accepted = true;
    try {
      skip_all(text);
    } catch (const Error&) {
      accepted = false;
    }
    EXPECT_EQ(accepted, nlohmann::json::accept(text)) << text;
  }
}

TEST(JsonCursor, ReadsStringsAndIntegers) {
  JsonCursor cursor(R"( "a\"\\\/\b\f\n\r\t\u00e9\ud83e\udd94ß" 18446744073709551615 0 null)", "test");
  EXPECT_EQ(cursor.string(), "a\"\\/\b\f\n\r\té🦔ß");
  EXPECT_EQ(cursor.unsigned_integer(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(cursor.unsigned_integer(), 0U);
  EXPECT_TRUE(cursor.accept_null());
  cursor.expect_end();
  for (const char* text : {"18446744073709551616", "-1", "1.0", "1e2", "01", "x", ""}) {
    EXPECT_THROW(JsonCursor(text, "test").unsigned_integer(), Error) << text;
  }
}

TEST(JsonCursor, ErrorsNameTheByte) {
  EXPECT_TRUE(contains(error_of([] { skip_all("{\"a\": x}"); }), "at byte 6"));
  EXPECT_TRUE(contains(error_of([] { JsonCursor("[\xFF]", "test", 8); }), "at byte 9"));
  EXPECT_TRUE(contains(error_of([] { skip_all("[1"); }), "ends at byte 2"));
}

TEST(JsonFile, LimitsDepthAndSize) {
  const hedgehog::testing::TemporaryDirectory directory;
  const auto nested = [&](int depth) { return directory.write("a.json", std::string(depth, '[') + std::string(depth, ']')); };
  EXPECT_NO_THROW(read_json_file(nested(kDeepestJson), 1 << 20));
  EXPECT_TRUE(contains(error_of([&] { read_json_file(nested(kDeepestJson + 1), 1 << 20); }), "at most 128 levels"));
  EXPECT_TRUE(contains(error_of([&] { read_json_file(nested(500'000), 1 << 20); }), "a.json"));
  EXPECT_TRUE(contains(error_of([&] { read_json_file(nested(100), 199); }), "more than the 199"));
  EXPECT_TRUE(contains(error_of([&] { read_json_object(nested(2), 1 << 20); }), "expected a JSON object, found array"));
  EXPECT_TRUE(contains(error_of([&] { read_json_file(directory.write("b.json", "{\"a\":1e999}"), 99); }), "b.json"));
  EXPECT_THROW(read_json_file(directory / "absent.json", 99), Error);
  EXPECT_THROW(read_json_file(directory.path(), 99), Error);
  EXPECT_EQ(read_json_object(directory.write("c.json", "{\"a\":[1,\"é\"]}"), 99)["a"][1], "é");
}

}  // namespace
}  // namespace hedgehog
