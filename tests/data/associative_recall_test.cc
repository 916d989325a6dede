#include "hedgehog/data/associative_recall.h"

#include "hedgehog/base/sha256.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace hedgehog {
namespace {

std::vector<std::int64_t> row_of(const at::Tensor& tokens, std::int64_t row) {
  const auto* first = tokens.const_data_ptr<std::int64_t>() + row * tokens.size(1);
  return {first, first + tokens.size(1)};
}

std::string hash_of(const RecallData& data) {
  Sha256 hash;
  for (const at::Tensor& tensor : {data.tokens, data.answers}) {
    hash.update(std::as_bytes(std::span(tensor.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(tensor.numel()))));
  }
  return hash.hexadecimal();
}

TEST(AssociativeRecall, AnswersFollowFromThePairs) {
  for (const RecallConfig& config :
       {RecallConfig{}, RecallConfig{.vocabulary = 9, .length = 6}, RecallConfig{.vocabulary = 512, .length = 1024}}) {
    const std::int64_t keys = (config.vocabulary - 2) / 2, mark = config.vocabulary - 2;
    EXPECT_EQ(recall_keys(config), keys);
    EXPECT_EQ(recall_mark(config), mark);
    const RecallData data = generate_associative_recall(config, 200, 3);
    ASSERT_EQ(data.tokens.sizes(), (std::vector<std::int64_t>{200, config.length + 2}));
    for (std::int64_t i = 0; i < 200; ++i) {
      const auto row = row_of(data.tokens, i);
      std::map<std::int64_t, std::int64_t> pairs;
      for (std::size_t j = 0; j + 2 < row.size(); j += 2) {
        ASSERT_LT(row[j], keys);
        ASSERT_GE(row[j], 0);
        ASSERT_GE(row[j + 1], keys);
        ASSERT_LT(row[j + 1], mark);
        ASSERT_EQ(pairs.emplace(row[j], row[j + 1]).first->second, row[j + 1]) << "a key has two values";
      }
      ASSERT_EQ(row[row.size() - 2], mark);
      ASSERT_TRUE(pairs.contains(row.back()));
      ASSERT_EQ(data.answers[i].item<std::int64_t>(), pairs[row.back()]);
    }
  }
}

TEST(AssociativeRecall, ThePapersTrainingAndTestPartsAreDisjoint) {
  const RecallData data = generate_associative_recall({}, 12'000, 1);
  std::set<std::vector<std::int64_t>> rows;
  std::vector<double> answers(40), queries(40);
  for (std::int64_t i = 0; i < 12'000; ++i) {
    const auto row = row_of(data.tokens, i);
    rows.insert(row);
    queries[static_cast<std::size_t>(row.back())] += 1;
    answers[static_cast<std::size_t>(data.answers[i].item<std::int64_t>())] += 1;
  }
  EXPECT_EQ(rows.size(), 12'000u);
  // 19 keys are asked for and 19 values answer, all alike often: five standard deviations.
  const double mean = 12'000.0 / 19;
  for (std::size_t id = 0; id < 40; ++id) {
    EXPECT_NEAR(queries[id], id < 19 ? mean : 0, id < 19 ? 5 * std::sqrt(mean) : 0) << id;
    EXPECT_NEAR(answers[id], id >= 19 && id < 38 ? mean : 0, id >= 19 && id < 38 ? 5 * std::sqrt(mean) : 0) << id;
  }
}

TEST(AssociativeRecall, ShortExamplesDifferToo) {
  // 3 keys, 3 values, one pair: nine examples in all.
  const RecallData data = generate_associative_recall({.vocabulary = 8, .length = 2}, 9, 4);
  std::set<std::vector<std::int64_t>> rows;
  for (std::int64_t i = 0; i < 9; ++i) rows.insert(row_of(data.tokens, i));
  EXPECT_EQ(rows.size(), 9u);
  EXPECT_NE(
      testing::error_of([] { generate_associative_recall({.vocabulary = 8, .length = 2}, 10, 4); }).find("hardly 10 different"),
      std::string::npos);
}

TEST(AssociativeRecall, TheSeedDecides) {
  const RecallData data = generate_associative_recall({}, 100, 9);
  EXPECT_EQ(hash_of(data), hash_of(generate_associative_recall({}, 100, 9)));
  EXPECT_NE(hash_of(data), hash_of(generate_associative_recall({}, 100, 10)));
  EXPECT_EQ(hash_of(data), "b08f1e9cbcf3e48fd8b0b5c140988263de04c737b14063143df942b9f37e39b1");
}

TEST(AssociativeRecall, SenselessConfigurationsAreErrors) {
  EXPECT_THROW(generate_associative_recall({.vocabulary = 5}, 1, 0), Error);
  EXPECT_THROW(generate_associative_recall({.length = 127}, 1, 0), Error);
  EXPECT_THROW(generate_associative_recall({.length = 0}, 1, 0), Error);
  EXPECT_THROW(generate_associative_recall({}, 0, 0), Error);
}

}  // namespace
}  // namespace hedgehog
