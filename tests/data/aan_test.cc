#include "hedgehog/data/aan.h"

#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

std::string text_of(const ByteSequence& sequence) {
  return {sequence.symbols.begin(), sequence.symbols.end()};
}

TEST(Aan, PairsShareTheirLabelAndTextsAreCut) {
  const TemporaryDirectory folder;
  const PaperPairs pairs =
      read_aan(folder.write("a.tsv", "0.0\tP1\tP2\tA \"paper\tanother\n1\tP3\tP4\tthird\tthe fourth paper\n"), 8);
  ASSERT_EQ(pairs.first.size(), 2u);
  ASSERT_EQ(pairs.second.size(), 2u);
  EXPECT_EQ(text_of(pairs.first[0]), "A \"paper");
  EXPECT_EQ(text_of(pairs.second[0]), "another");
  EXPECT_EQ(text_of(pairs.second[1]), "the four");
  EXPECT_EQ(pairs.first[0].label, 0);
  EXPECT_EQ(pairs.first[1].label, 1);
  EXPECT_EQ(pairs.second[1].label, 1);
}

TEST(Aan, ErrorsSayWhere) {
  const TemporaryDirectory folder;
  const auto error = [&](const std::string& row) {
    return error_of([&] { read_aan(folder.write("a.tsv", "0\tP1\tP2\tx\ty\n" + row)); });
  };
  EXPECT_NE(error("2\tP1\tP2\tx\ty\n").find("a.tsv:2: unknown label '2'"), std::string::npos);
  EXPECT_NE(error("1\tP1\tP2\tx").find("a.tsv:2: the row has 4"), std::string::npos);
  EXPECT_NE(error("1\tP1\tP2\tx\t\xFE\n").find("a.tsv:2: byte 10 of the line is not UTF-8"), std::string::npos);
  EXPECT_NE(error_of([&] { read_aan(folder.write("b.tsv", "")); }).find("b.tsv: holds no pairs"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
