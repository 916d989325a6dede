#include "hedgehog/data/batch_sampler.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

namespace hedgehog {
namespace {

/// Tokens 0, 1, 2, ... so that a token says where it stands.
Corpus counting_corpus(const std::vector<std::int64_t>& lengths) {
  Corpus corpus;
  std::int32_t next = 0;
  for (const std::int64_t length : lengths) {
    std::vector<std::int32_t> document(static_cast<std::size_t>(length));
    for (std::int32_t& token : document) token = next++;
    append_document(corpus, document);
  }
  seal(corpus);
  return corpus;
}

bool equal(const Batch& a, const Batch& b) {
  return at::equal(a.tokens, b.tokens) && at::equal(a.targets, b.targets) &&
         a.segment_start.defined() == b.segment_start.defined() &&
         (!a.segment_start.defined() || at::equal(a.segment_start, b.segment_start));
}

TEST(BatchSampler, EachRowComesOnceInAnEpochAndEpochsDiffer) {
  const Corpus corpus = counting_corpus({103});
  BatchSampler sampler(corpus, 1, 10, 5);
  ASSERT_EQ(sampler.rows(), 10);
  std::vector<std::vector<std::int64_t>> orders(2);
  for (auto& order : orders) {
    for (int i = 0; i < 10; ++i) order.push_back(sampler.next().tokens[0][0].item<std::int64_t>());
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()),
              (std::set<std::int64_t>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90}));
  }
  EXPECT_NE(orders[0], orders[1]);
}

TEST(BatchSampler, IsAFunctionOfSeedAndPosition) {
  const Corpus corpus = counting_corpus({40, 7, 90, 3, 60});
  BatchSampler whole(corpus, 3, 16, 9), other_seed(corpus, 3, 16, 10);
  std::vector<Batch> batches;
  bool differs = false;
  for (int i = 0; i < 20; ++i) {  // several epochs of 12 rows, batches across their borders
    batches.push_back(whole.next());
    differs |= !equal(batches.back(), other_seed.next());
  }
  EXPECT_TRUE(differs);
  for (const int at : {0, 1, 4, 13}) {
    BatchSampler resumed(corpus, 3, 16, 9);
    resumed.set_position(3 * at);
    for (int i = at; i < 20; ++i) ASSERT_TRUE(equal(resumed.next(), batches[static_cast<std::size_t>(i)])) << at << " " << i;
    EXPECT_EQ(resumed.position(), whole.position());
  }
}

TEST(BatchSampler, DocumentsDontReachAcrossTheirBorders) {
  const Corpus corpus = counting_corpus({5, 1, 8, 6});  // 20 tokens, borders at 5, 6, 14
  BatchSampler sampler(corpus, 2, 10, 1);
  Batch batch = sampler.next();
  ASSERT_TRUE(batch.segment_start.defined());
  const std::int64_t first = batch.tokens[0][0].item<std::int64_t>() == 0 ? 0 : 1;
  const auto row = [&](const at::Tensor& tensor, std::int64_t index) {
    const at::Tensor values = tensor[index == 0 ? first : 1 - first].to(at::kLong);
    return std::vector<std::int64_t>(values.const_data_ptr<std::int64_t>(), values.const_data_ptr<std::int64_t>() + 10);
  };
  EXPECT_EQ(row(batch.tokens, 0), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(row(batch.targets, 0), (std::vector<std::int64_t>{1, 2, 3, 4, -100, -100, 7, 8, 9, 10}));
  EXPECT_EQ(row(batch.segment_start, 0), (std::vector<std::int64_t>{0, 0, 0, 0, 0, 5, 6, 6, 6, 6}));
  EXPECT_EQ(row(batch.targets, 1), (std::vector<std::int64_t>{11, 12, 13, -100, 15, 16, 17, 18, 19, -100}));
  EXPECT_EQ(row(batch.segment_start, 1), (std::vector<std::int64_t>{0, 0, 0, 0, 4, 4, 4, 4, 4, 4}));
}

TEST(BatchSampler, OneDocumentNeedsNoSegments) {
  const Corpus corpus = counting_corpus({64});
  EXPECT_FALSE(BatchSampler(corpus, 2, 16, 1).next().segment_start.defined());
}

TEST(BatchSampler, RefusesACorpusShorterThanARow) {
  const Corpus corpus = counting_corpus({9});
  EXPECT_THROW(BatchSampler(corpus, 1, 10, 0), Error);
}

}  // namespace
}  // namespace hedgehog
