#include "hedgehog/data/examples.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
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
  ImageExamples examples(2, 3, 0.5, 0.25);
  examples.add(std::vector<std::uint8_t>{0, 51, 102, 153, 204, 255}, 7);
  const auto batch = examples.batch(std::vector<std::int64_t>{0});
  EXPECT_EQ(batch.input.images.sizes(), (at::IntArrayRef{1, 1, 2, 3}));
  EXPECT_NEAR(batch.input.images[0][0][0][1].item<float>(), (0.2 - 0.5) / 0.25, 1e-6);
  EXPECT_NEAR(batch.input.images[0][0][1][2].item<float>(), 2, 1e-6);
  EXPECT_EQ(batch.labels[0].item<std::int64_t>(), 7);
  EXPECT_THROW(examples.add(std::vector<std::uint8_t>(5), 0), Error);
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
  ExampleOrder order(23, 5, 1), again(23, 5, 1), other(23, 5, 2);
  ASSERT_EQ(order.steps_an_epoch(), 5);
  std::vector<std::vector<std::int64_t>> epochs(3);
  for (std::int64_t step = 0; step < 15; ++step) {
    const auto rows = order.rows(step);
    EXPECT_EQ(rows.size(), step % 5 == 4 ? 3u : 5u);
    epochs[static_cast<std::size_t>(step / 5)].insert(epochs[static_cast<std::size_t>(step / 5)].end(), rows.begin(),
                                                      rows.end());
  }
  for (const auto& epoch : epochs) EXPECT_EQ(std::set<std::int64_t>(epoch.begin(), epoch.end()).size(), 23u);
  EXPECT_NE(epochs[0], epochs[1]);
  // A function of the step alone: a resumed run asks for a later one first.
  EXPECT_EQ(again.rows(12), order.rows(12));
  EXPECT_EQ(again.rows(3), order.rows(3));
  EXPECT_NE(other.rows(0), order.rows(0));
  EXPECT_THROW(ExampleOrder(0, 5, 1), Error);
  EXPECT_THROW(ExampleOrder(5, 0, 1), Error);
}

}  // namespace
}  // namespace hedgehog
