// ListOps against an evaluator of the test's own, and against the statistics of the published procedure
// (tests/fixtures/data/make_listops.py).
#include "hedgehog/data/listops.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/sha256.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <sstream>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

/// The value of the words that follow, by recursion; also how deep they go.
int value_of_words(std::istringstream& words, int level, int& deepest) {
  deepest = std::max(deepest, level);
  std::string word;
  words >> word;
  if (word[0] != '[') return std::stoi(word);
  std::vector<int> values;
  for (;;) {
    const auto position = words.tellg();
    std::string next;
    words >> next;
    if (next == "]") break;
    words.seekg(position);
    values.push_back(value_of_words(words, level + 1, deepest));
  }
  EXPECT_GE(values.size(), 2u);
  EXPECT_LE(values.size(), 10u);
  std::sort(values.begin(), values.end());
  if (word == "[MIN") return values.front();
  if (word == "[MAX") return values.back();
  if (word == "[SM") return std::accumulate(values.begin(), values.end(), 0) % 10;
  EXPECT_EQ(word, "[MED");
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : static_cast<int>((values[half - 1] + values[half]) / 2.0);
}

TEST(ListOps, ExamplesAreLabelledRightAndOfTheLengthsAskedFor) {
  const auto examples = generate_listops({}, 300, 1);
  ASSERT_EQ(examples.size(), 300u);
  int deepest = 0;
  for (const ByteSequence& example : examples) {
    EXPECT_GT(example.symbols.size(), 500u);
    EXPECT_LT(example.symbols.size(), 2000u);
    std::istringstream words(listops_text(example.symbols));
    EXPECT_EQ(value_of_words(words, 1, deepest), example.label);
    EXPECT_EQ(parse_listops(listops_text(example.symbols)), example.symbols);
  }
  EXPECT_EQ(deepest, 10);
}

TEST(ListOps, AllExamplesDiffer) {
  const ListOpsConfig small{.deepest = 3, .most_arguments = 3, .longer_than = 0, .shorter_than = 8};
  const auto examples = generate_listops(small, 3000, 5);
  std::set<std::vector<std::uint8_t>> seen;
  for (const ByteSequence& example : examples) seen.insert(example.symbols);
  EXPECT_EQ(seen.size(), examples.size());
}

std::string hash_of(const std::vector<ByteSequence>& examples) {
  Sha256 hash;
  for (const ByteSequence& example : examples) {
    hash.update(std::as_bytes(std::span(example.symbols)));
    hash.update(std::as_bytes(std::span(&example.label, 1)));
  }
  return hash.hexadecimal();
}

TEST(ListOps, TheSeedDecidesAndMoreExamplesBeginWithTheSame) {
  const auto first = generate_listops({}, 40, 7);
  EXPECT_EQ(hash_of(first), hash_of(generate_listops({}, 40, 7)));
  EXPECT_NE(hash_of(first), hash_of(generate_listops({}, 40, 8)));
  const auto more = generate_listops({}, 60, 7);
  EXPECT_EQ(hash_of(first), hash_of({more.begin(), more.begin() + 40}));
  EXPECT_EQ(hash_of(first), "2d544165f0dda950d2fe25b4e6d1795c67f03a358b52528a4db0950b6850c043");
}

TEST(ListOps, HasTheStatisticsOfThePublishedProcedure) {
  const auto fixture =
      nlohmann::json::parse(read_text_file(std::string(HEDGEHOG_SOURCE_DIR) + "/tests/fixtures/data/listops.json"));
  constexpr int kCount = 4000;
  const auto examples = generate_listops({}, kCount, 11);
  double length = 0, lists = 0;
  std::array<double, 10> labels{};
  std::array<double, 4> operators{};
  for (const ByteSequence& example : examples) {
    length += static_cast<double>(example.symbols.size()) / kCount;
    labels[static_cast<std::size_t>(example.label)] += 1.0 / kCount;
    for (const std::uint8_t symbol : example.symbols) {
      if (symbol >= kMinimum && symbol < kClose) operators[symbol - kMinimum] += 1;
    }
  }
  for (const double count : operators) lists += count;
  // Five standard errors of both sides' means.
  const double samples = fixture["count"], noise = 5 * std::sqrt(1.0 / kCount + 1.0 / samples);
  EXPECT_NEAR(length, fixture["length_mean"].get<double>(), noise * fixture["length_deviation"].get<double>());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double share = fixture["label_shares"][i];
    EXPECT_NEAR(labels[i], share, noise * std::sqrt(share * (1 - share))) << i;
  }
  for (std::size_t i = 0; i < operators.size(); ++i) EXPECT_NEAR(operators[i] / lists, 0.25, 0.005) << i;
  EXPECT_NEAR(lists / kCount, fixture["lists_mean"].get<double>(), noise * fixture["lists_deviation"].get<double>());
}

TEST(ListOps, ValuesOfSmallLists) {
  const auto value = [](const char* text) { return evaluate_listops(parse_listops(text)); };
  EXPECT_EQ(value("7"), 7);
  EXPECT_EQ(value("[MAX 2 9 [MIN 4 7 ] 0 ]"), 9);
  EXPECT_EQ(value("( ( ( ( [MIN 4 ) ( 7 ) ) 3 ) ] )"), 3);
  EXPECT_EQ(value("[MED 1 2 ]"), 1);
  EXPECT_EQ(value("[MED 9 4 8 5 ]"), 6);
  EXPECT_EQ(value("[MED 9 4 8 5 0 ]"), 5);
  EXPECT_EQ(value("[SM 9 [SM 8 8 ] 5 ]"), 0);
}

TEST(ListOps, BrokenExpressionsAreErrors) {
  for (const char* text : {"", "[MAX", "[MAX ]", "]", "1 2", "[MIN 1 ] ]", "[MED [MED 2 ]"}) {
    EXPECT_NE(error_of([&] { evaluate_listops(parse_listops(text)); }).find("ListOps: "), std::string::npos) << text;
  }
  EXPECT_THROW(parse_listops("[FIRST 1 2 ]"), Error);
  EXPECT_THROW(evaluate_listops(std::vector<std::uint8_t>{kListOpsSymbols}), Error);
}

TEST(ListOps, SenselessConfigurationsAreErrors) {
  EXPECT_THROW(generate_listops({.most_arguments = 1}, 1, 0), Error);
  EXPECT_THROW(generate_listops({.longer_than = 10, .shorter_than = 11}, 1, 0), Error);
  EXPECT_THROW(generate_listops({.deepest = 2, .longer_than = 500}, 1, 0), Error);                    // none is so long
  EXPECT_THROW(generate_listops({.deepest = 1, .longer_than = 0, .shorter_than = 5}, 11, 0), Error);  // ten digits are all
}

TEST(ListOps, ThePublishedFilesAreReadAndChecked) {
  const TemporaryDirectory folder;
  const std::string rows = "Source\tTarget\r\n( ( ( [MAX 3 ) 8 ) ] )\t8\r\n";
  const auto examples = read_listops(folder.write("a.tsv", rows));
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(examples[0].symbols, (std::vector<std::uint8_t>{kMaximum, 3, 8, kClose}));
  EXPECT_EQ(examples[0].label, 8);
  EXPECT_NE(error_of([&] {
              read_listops(folder.write("b.tsv", rows + "[MIN 3 8 ]\t8\n"));
            }).find("b.tsv:3: the target is '8', but the list's value is 3"),
            std::string::npos);
  EXPECT_NE(error_of([&] { read_listops(folder.write("c.tsv", rows + "[MIN 3\t8\n")); }).find("c.tsv:3: ListOps"),
            std::string::npos);
}

}  // namespace
}  // namespace hedgehog
