#include "hedgehog/data/line_reader.h"

#include "tests/support/compressed.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <vector>

namespace hedgehog {
namespace {

using testing::compressed;
using testing::error_of;
using testing::TemporaryDirectory;

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  for (std::string_view line; reader.next(line);) {
    lines.emplace_back(line);
    EXPECT_EQ(reader.number(), std::ssize(lines));
  }
  std::string_view line;
  EXPECT_FALSE(reader.next(line));  // and stays at the end
  EXPECT_EQ(reader.number(), std::ssize(lines));
  return lines;
}

TEST(LineReader, GivesLinesWithoutTheirEnds) {
  const TemporaryDirectory folder;
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines_of(folder.write("a", "one\n\nthree\r\nfour")), (Lines{"one", "", "three", "four"}));
  EXPECT_EQ(lines_of(folder.write("b", "one\n")), (Lines{"one"}));
  EXPECT_EQ(lines_of(folder.write("c", "\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo\n")), (Lines{"one", "\xEF\xBB\xBFtwo"}));
  EXPECT_EQ(lines_of(folder.write("d", "")), Lines{});
  EXPECT_EQ(lines_of(folder.write("e", "\n")), Lines{""});
}

TEST(LineReader, LinesMayBeLongerThanWhatIsReadAtATime) {
  const TemporaryDirectory folder;
  std::vector<std::string> lines;
  std::string text;
  for (int i = 0; i < 300; ++i) {
    lines.emplace_back(static_cast<std::size_t>(i * i * 3 % 200'003), static_cast<char>('a' + i % 26));
    text += lines.back() + "\n";
  }
  EXPECT_EQ(lines_of(folder.write("a", text)), lines);
  EXPECT_EQ(lines_of(folder.write("a.zst", compressed(text))), lines);
}

TEST(LineReader, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  EXPECT_NE(error_of([&] { lines_of(folder.write("a", "good\nbro\xC3ken\n")); }).find("a:2: byte 3"), std::string::npos);
  EXPECT_NE(error_of([&] { lines_of(folder.write("b", std::string("x\ny\nz\0", 6))); }).find("b:3: holds a zero byte"),
            std::string::npos);
  const std::filesystem::path bomb = folder.write("c.zst", compressed("x\n" + std::string(1 << 20, 'y')));
  LineReader reader(bomb, 100'000);
  std::string_view line;
  EXPECT_TRUE(reader.next(line));
  EXPECT_NE(error_of([&] { reader.next(line); }).find("c.zst:2: the line is longer than 100000 bytes"), std::string::npos);
  const std::string packed = compressed("a\nb\nc\n");
  EXPECT_NE(error_of([&] { lines_of(folder.write("cut.zst", packed.substr(0, packed.size() - 3))); }).find("truncated"),
            std::string::npos);
  EXPECT_NE(error_of([&] { lines_of(folder / "absent"); }).find("absent"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
