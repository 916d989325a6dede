#include "hedgehog/data/tsv_reader.h"

#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;
using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(TsvReader& reader) {
  Rows rows;
  for (std::vector<std::string_view> fields; reader.next(fields);) rows.emplace_back(fields.begin(), fields.end());
  return rows;
}

TEST(TsvReader, FieldsComeInTheOrderAskedForAndQuotesAreCharacters) {
  const TemporaryDirectory folder;
  TsvReader reader(folder.write("a.tsv", "one\ttwo\tthree\n1\t\"2\t3\n\n4\t5\"\t \n"), {"three", "two"});
  EXPECT_EQ(rows_of(reader), (Rows{{"3", "\"2"}, {" ", "5\""}}));
  EXPECT_EQ(reader.rows(), 2);
  EXPECT_EQ(reader.skipped(), 0);
}

TEST(TsvReader, AFileMayHaveNoHeader) {
  const TemporaryDirectory folder;
  TsvReader reader(folder.write("a.tsv", "1\t2\n3\t4"), {"second"}, {.header = {"first", "second"}});
  EXPECT_EQ(rows_of(reader), (Rows{{"2"}, {"4"}}));
}

TEST(TsvReader, BrokenRowsAreRefusedOrCounted) {
  const TemporaryDirectory folder;
  const auto file = folder.write("a.tsv", "a\tb\n1\t2\n3\n4\t5\t6\n7\t8\n");
  TsvReader strict(file, {"a"});
  EXPECT_NE(error_of([&] { rows_of(strict); }).find("a.tsv:3: the row has 1 tab-separated fields, expected 2"),
            std::string::npos);
  TsvReader lenient(file, {"a"}, {.header = {}, .skip_broken_rows = true});
  EXPECT_EQ(rows_of(lenient), (Rows{{"1"}, {"7"}}));
  EXPECT_EQ(lenient.skipped(), 2);
  EXPECT_EQ(lenient.rows(), 2);
}

TEST(TsvReader, AMissingColumnIsNamedWithThoseThatAreThere) {
  const TemporaryDirectory folder;
  const std::string error = error_of([&] { TsvReader(folder.write("a.tsv", "one\ttwo\n"), {"one", "label"}); });
  EXPECT_NE(error.find("a.tsv:1: the column 'label' is missing"), std::string::npos) << error;
  EXPECT_NE(error.find("one, two"), std::string::npos) << error;
  EXPECT_NE(error_of([&] { TsvReader(folder.write("b.tsv", ""), {"x"}); }).find("b.tsv: is empty"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
