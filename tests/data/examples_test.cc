#include "hedgehog/data/examples.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace hedgehog {
namespace {

TEST(TokenExamples, PadsABatchToItsLongest) {
  TokenExamples examples(/*classes=*/true, /*padding_token=*/9);
  examples.add(std::vector<std::int32_t>{1, 2, 3}, std::vector<std::int32_t>{0, 0, 1}, 1);
  examples.add(std::vector<std::int32_t>{4}, {}, 0);
  examples.add(std::vector<std::int32_t>{5, 6}, {}, 2);
  const auto batch = examples.batch(std::vector<std::int64_t>{2, 0});
  EXPECT_TRUE(at::equal(batch.input.tokens, at::tensor({5, 6, 9, 1, 2, 3}, at::kLong).view({2, 3})));
  EXPECT_TRUE(at::equal(batch.input.token_types, at::tensor({0, 0, 0, 0, 0, 1}, at::kLong).view({2, 3})));
  EXPECT_TRUE(at::equal(batch.input.key_count, at::tensor({2, 3}, at::kInt)));
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({2, 1}, at::kLong)));
  EXPECT_FALSE(examples.batch(std::vector<std::int64_t>{1}).input.key_count.defined()) << "nothing is padded";
  EXPECT_THROW(examples.add({}, {}, 0), Error);
  EXPECT_THROW(examples.add(std::vector<std::int32_t>{1}, std::vector<std::int32_t>{0, 1}, 0), Error);
}

TEST(TokenExamples, RegressionsLabelsAreNumbers) {
  TokenExamples examples(/*classes=*/false, 0);
  examples.add(std::vector<std::int32_t>{1}, {}, 3.25);
  const auto labels = examples.batch(std::vector<std::int64_t>{0}).labels;
  EXPECT_EQ(labels.scalar_type(), at::kFloat);
  EXPECT_EQ(labels[0].item<float>(), 3.25f);
}

TEST(ImageExamples, NormalisesPixels) {
  const ImageExamples examples({2, {0, 51, 204, 255}, {7}}, 0.5, 0.25);
  const auto batch = examples.batch(std::vector<std::int64_t>{0});
  EXPECT_EQ(batch.input.images.sizes(), (at::IntArrayRef{1, 1, 2, 2}));
  EXPECT_NEAR(batch.input.images[0][0][0][1].item<float>(), (0.2 - 0.5) / 0.25, 1e-6);
  EXPECT_NEAR(batch.input.images[0][0][1][1].item<float>(), 2, 1e-6);
  EXPECT_EQ(batch.labels[0].item<std::int64_t>(), 7);
  EXPECT_THROW(ImageExamples({2, {0, 1, 2, 3, 4}, {0}}, 0.5, 0.25).batch(std::vector<std::int64_t>{0}), Error);
}

TEST(PixelExamples, StandBehindTheFirstToken) {
  const PixelExamples examples({2, {0, 51, 204, 255, 9, 8, 7, 6}, {7, 1}}, 256);
  const auto batch = examples.batch(std::vector<std::int64_t>{1, 0});
  EXPECT_TRUE(at::equal(batch.input.tokens, at::tensor({256, 9, 8, 7, 6, 256, 0, 51, 204, 255}, at::kLong).view({2, 5})));
  EXPECT_FALSE(batch.input.key_count.defined());
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({1, 7}, at::kLong)));
  EXPECT_EQ(examples.labels(), (std::vector<double>{7, 1}));
}

TEST(SequenceExamples, AreCutAndPaddedBehindTheFirstToken) {
  const SequenceExamples examples({{{0, 255, 7, 4, 5}, 1}, {{5}, 0}, {{1, 2}, 1}}, 3, 257);
  const auto batch = examples.batch(std::vector<std::int64_t>{0, 1});
  EXPECT_TRUE(at::equal(batch.input.tokens, at::tensor({257, 1, 256, 8, 257, 6, 0, 0}, at::kLong).view({2, 4})));
  EXPECT_TRUE(at::equal(batch.input.key_count, at::tensor({4, 2}, at::kInt)));
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({1, 0}, at::kLong)));
  const auto alone = examples.batch(std::vector<std::int64_t>{2});
  EXPECT_TRUE(at::equal(alone.input.tokens, at::tensor({257, 2, 3}, at::kLong).view({1, 3}))) << "no longer than it is";
  EXPECT_FALSE(alone.input.key_count.defined());
  EXPECT_NE(SequenceExamples({{{1}, 1}}, 3, 257).sha256(), SequenceExamples({{{1}, 0}}, 3, 257).sha256());
}

TEST(PairExamples, SecondsStandBehindTheFirstOnes) {
  const PairExamples examples({{{1, 2}, 1}, {{3}, 0}}, {{{4, 5, 6, 7}, 1}, {{8}, 0}}, 3, 257);
  const auto batch = examples.batch(std::vector<std::int64_t>{1, 0});
  EXPECT_TRUE(at::equal(batch.input.tokens,
                        at::tensor({257, 4, 0, 0, 257, 2, 3, 0, 257, 9, 0, 0, 257, 5, 6, 7}, at::kLong).view({4, 4})));
  EXPECT_TRUE(at::equal(batch.input.key_count, at::tensor({2, 3, 2, 4}, at::kInt)));
  EXPECT_TRUE(at::equal(batch.labels, at::tensor({0, 1}, at::kLong)));
  EXPECT_EQ(examples.lengths(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_FALSE(examples.batch(std::vector<std::int64_t>{1}).input.key_count.defined()) << "as long as one another";
  const PairExamples swapped({{{4, 5, 6, 7}, 1}, {{8}, 0}}, {{{1, 2}, 1}, {{3}, 0}}, 3, 257);
  EXPECT_NE(examples.sha256(), swapped.sha256());
  EXPECT_THROW(PairExamples({{{1}, 1}}, {}, 3, 257), Error);
}

TEST(Examples, HashChangesWithAnything) {
  std::set<std::string> hashes;
  for (const auto& [token, type, label] : {std::tuple{1, 0, 1.0}, {2, 0, 1.0}, {1, 1, 1.0}, {1, 0, 0.0}}) {
    TokenExamples examples(true, 0);
    examples.add(std::vector<std::int32_t>{token}, std::vector<std::int32_t>{type}, label);
    hashes.insert(examples.sha256());
  }
  EXPECT_EQ(hashes.size(), 4u);
}

TEST(ExampleOrder, GoesThroughAllOnceAnEpochInAnotherOrderEach) {
  const std::vector<std::int64_t> lengths(23, 1);
  ExampleOrder order(lengths, 5, 1), again(lengths, 5, 1), other(lengths, 5, 2);
  ASSERT_EQ(order.steps_an_epoch(), 5);
  std::vector<std::vector<std::int64_t>> epochs(3);
  for (std::int64_t step = 0; step < 15; ++step) {
    const auto rows = order.rows(step);
    EXPECT_TRUE(rows.size() == 5 || rows.size() == 3) << rows.size();
    epochs[static_cast<std::size_t>(step / 5)].insert(epochs[static_cast<std::size_t>(step / 5)].end(), rows.begin(),
                                                      rows.end());
  }
  for (const auto& epoch : epochs) EXPECT_EQ(std::set<std::int64_t>(epoch.begin(), epoch.end()).size(), 23u);
  EXPECT_NE(epochs[0], epochs[1]);
  // A function of the step alone: a resumed run asks for a later one first.
  EXPECT_EQ(again.rows(12), order.rows(12));
  EXPECT_EQ(again.rows(3), order.rows(3));
  EXPECT_NE(other.rows(0), order.rows(0));
  EXPECT_THROW(ExampleOrder({}, 5, 1), Error);
  EXPECT_THROW(ExampleOrder({1, 2}, 0, 1), Error);
}

TEST(ExampleOrder, ABatchHasExamplesOfLikeLength) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < 500; ++i) lengths.push_back(1 + i * 7 % 97);
  ExampleOrder order(lengths, 10, 3);
  std::set<std::int64_t> seen;
  std::int64_t padded = 0, longest_first = 0;
  for (std::int64_t step = 0; step < order.steps_an_epoch(); ++step) {
    const auto rows = order.rows(step);
    std::int64_t longest = 0;
    for (const std::int64_t row : rows) longest = std::max(longest, lengths[static_cast<std::size_t>(row)]);
    seen.insert(rows.begin(), rows.end());
    padded += longest * std::ssize(rows);
    if (step > 0 && longest > longest_first) ++longest_first;
  }
  EXPECT_EQ(seen.size(), 500u);
  EXPECT_LT(static_cast<double>(padded),
            1.1 * static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})));
  EXPECT_GT(longest_first, 10);  // not the short ones first
}

}  // namespace
}  // namespace hedgehog
