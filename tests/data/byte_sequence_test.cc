#include "hedgehog/data/byte_sequence.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

TEST(ByteSequence, RowsAreCutOrPadded) {
  const std::vector<ByteSequence> sequences = {{{0, 255, 7}, 1}, {{5}, 0}, {{1, 2, 3, 4, 5}, 9}};
  const PaddedBatch batch = padded_batch(sequences, std::vector<std::int64_t>{2, 0, 1, 0}, 4);
  EXPECT_TRUE(at::equal(
      batch.ids, at::tensor(std::vector<std::int64_t>{2, 3, 4, 5, 1, 256, 8, 0, 6, 0, 0, 0, 1, 256, 8, 0}).view({4, 4})));
  EXPECT_TRUE(at::equal(batch.lengths, at::tensor(std::vector<std::int64_t>{4, 3, 1, 3})));
  EXPECT_TRUE(at::equal(batch.labels, at::tensor(std::vector<std::int64_t>{9, 1, 0, 1})));
  EXPECT_LT(batch.ids.max().item<std::int64_t>(), kByteIds);
}

TEST(ByteSequence, WrongIndicesAndLengthsAreErrors) {
  const std::vector<ByteSequence> sequences = {{{1}, 0}};
  EXPECT_THROW(padded_batch(sequences, std::vector<std::int64_t>{1}, 4), Error);
  EXPECT_THROW(padded_batch(sequences, std::vector<std::int64_t>{-1}, 4), Error);
  EXPECT_THROW(padded_batch(sequences, std::vector<std::int64_t>{0}, 0), Error);
}

}  // namespace
}  // namespace hedgehog
