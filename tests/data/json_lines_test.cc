#include "hedgehog/data/json_lines.h"

#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <vector>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

TEST(JsonLines, BlankLinesAreSteppedOverAndLinesNumbered) {
  const TemporaryDirectory folder;
  std::vector<std::string> seen;
  for_each_json_line(folder.write("a.jsonl", "{\"x\": 1}\n \n\n{\"x\": 2}"), [&](const auto& object, const std::string& where) {
    seen.push_back(std::to_string(integer_field(object, "x", 0, 9, where)) + " " + where.substr(where.rfind('/') + 1));
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"1 a.jsonl:1", "2 a.jsonl:4"}));
}

TEST(JsonLines, WhatIsNoObjectIsRefused) {
  const TemporaryDirectory folder;
  const auto error = [&](const std::string& line) {
    return error_of([&] { for_each_json_line(folder.write("a.jsonl", "{}\n" + line), [](const auto&, const auto&) {}); });
  };
  for (const std::string& line : {std::string("[1]"), std::string("{\"x\": }"), std::string("{} {}"), std::string("\"\xFF\""),
                                  std::string(1 << 20, '['), std::string("{\"x\": 1e999}")}) {
    EXPECT_NE(error(line).find("a.jsonl:2"), std::string::npos) << line.substr(0, 20);
  }
}

TEST(JsonLines, FieldsAreChecked) {
  const auto object = nlohmann::json::parse(R"({"s": "t", "n": 3, "big": 18446744073709551615, "f": 1.5})");
  EXPECT_EQ(text_field(object, "s", "w"), "t");
  EXPECT_EQ(integer_field(object, "n", 3, 3, "w"), 3);
  for (const char* key : {"n", "absent"})
    EXPECT_NE(error_of([&] { text_field(object, key, "w:7"); }).find("w:7"), std::string::npos);
  for (const char* key : {"s", "absent", "f", "big"}) {
    EXPECT_NE(error_of([&] { integer_field(object, key, -10, 10, "w:7"); }).find("w:7"), std::string::npos);
  }
  EXPECT_THROW(integer_field(object, "n", 4, 9, "w"), Error);
  EXPECT_THROW(integer_field(object, "n", 0, 2, "w"), Error);
}

}  // namespace
}  // namespace hedgehog
