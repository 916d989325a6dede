#include "hedgehog/inference/text_stream.h"

#include "hedgehog/base/random.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

TEST(TextStream, HoldsBackCutCharacters) {
  TextStream stream({});
  EXPECT_EQ(stream.push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.push("\xA6"), "");
  EXPECT_EQ(stream.push("\x94z"), "\xF0\x9F\xA6\x94z");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(TextStream, ReplacesBrokenBytesAsPythonDoes) {
  // bytes.decode("utf-8", "replace") of the same bytes in Python 3.11.
  const std::pair<std::string, std::string> cases[] = {
      {"\x80", "\uFFFD"},
      {"a\xFFz", "a\uFFFDz"},
      {"\xC0\x80", "\uFFFD\uFFFD"},
      {"\xE2\x82z", "\uFFFDz"},
      {"\xF0\x9F\xA6z", "\uFFFDz"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE2\xE2\x82\xAC", "\uFFFD\u20AC"},
      {"\xF0\x9F", "\uFFFD"},
      {"\xE0\x80z", "\uFFFD\uFFFDz"},
  };
  for (const auto& [bytes, expected] : cases) {
    TextStream at_once({}), one_by_one({});
    std::string pieces;
    for (const char c : bytes) {
      pieces += one_by_one.push({&c, 1});
    }
    EXPECT_EQ(pieces + one_by_one.finish(), expected);
    const std::string head = at_once.push(bytes);
    EXPECT_EQ(head + at_once.finish(), expected);
  }
}

TEST(TextStream, StopsAcrossBorders) {
  TextStream stream({"STOP"});
  EXPECT_EQ(stream.push("one S"), "one ");
  EXPECT_EQ(stream.push("T"), "");
  EXPECT_EQ(stream.push("op SS"), "STop S");  // "S" may still begin a stop
  EXPECT_EQ(stream.push("TOP and more"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push("no more"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, GivesWhatItHeldBackAtTheEnd) {
  TextStream stream({"\n\nUser:"});
  EXPECT_EQ(stream.push("text\n\nUse"), "text");
  EXPECT_EQ(stream.finish(), "\n\nUse");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, TakesTheFirstOfSeveralStops) {
  TextStream stream({"late", "", "early"});
  EXPECT_EQ(stream.push("some early and late"), "some ");
  EXPECT_TRUE(stream.stopped());
}

TEST(TextStream, StopsWithinManyByteCharacters) {
  TextStream stream({"\u20AC"});
  EXPECT_EQ(stream.push("a\xE2"), "a");
  EXPECT_EQ(stream.push("\x82"), "");
  EXPECT_EQ(stream.push("\xAC"), "");
  EXPECT_TRUE(stream.stopped());
}

// However the bytes are cut, the text is that before the first stop string, and no piece shows a part of one.
TEST(TextStream, AnyCutGivesTheSameText) {
  const std::string bytes = "abacab\u00E9 aab aaab\u00E9c\xFF abacus ab abab\u00E9\U0001F994 abacab";
  const std::string text = "abacab\u00E9 aab aaab\u00E9c\uFFFD abacus ab abab\u00E9\U0001F994 abacab";
  Random random{5, 0};
  for (const std::string stop : {"abab", "aaab", "c\uFFFD", "ab\u00E9\U0001F994", "nothing", "acus ab ", "abacab\u00E9 b"}) {
    const std::size_t end = text.find(stop);
    for (int trial = 0; trial < 200; ++trial) {
      TextStream stream({stop});
      std::string all;
      for (std::size_t i = 0; i < bytes.size();) {
        const std::size_t length = 1 + random.below(4);
        all += stream.push(std::string_view(bytes).substr(i, length));
        ASSERT_TRUE(text.substr(0, end).starts_with(all)) << stop;
        i += length;
      }
      all += stream.finish();
      ASSERT_EQ(all, text.substr(0, end)) << stop;
      ASSERT_EQ(stream.stopped(), end != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace hedgehog
