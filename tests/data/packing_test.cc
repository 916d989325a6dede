// Rows of whole documents, their batches, and the sampler and the held-out end of a corpus of which some tokens are scored.
#include "hedgehog/data/packing.h"

#include "hedgehog/base/random.h"
#include "hedgehog/data/batch_sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace hedgehog {
namespace {

/// Tokens 1, 2, 3, ... so that a token says where it stands; the last third of each document is scored.
Corpus scored_corpus(const std::vector<std::int64_t>& lengths) {
  Corpus corpus;
  std::int32_t next = 1;
  for (const std::int64_t length : lengths) {
    std::vector<std::int32_t> document(static_cast<std::size_t>(length));
    for (std::int32_t& token : document) token = next++;
    append_document(corpus, document);
    for (std::int64_t i = 0; i < length; ++i) corpus.scored.push_back(3 * i >= 2 * length);
  }
  seal(corpus);
  return corpus;
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kLong).flatten().contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

TEST(Packing, EveryDocumentIsWholeInOneRow) {
  Random random{2};
  std::vector<std::int64_t> lengths(300);
  std::int64_t all = 0;
  for (std::int64_t& length : lengths) all += length = 2 + static_cast<std::int64_t>(random.below(40));
  const Corpus corpus = scored_corpus(lengths);
  const std::vector<PackedRow> rows = pack_rows(corpus, 64);
  std::map<std::int64_t, std::int64_t> found;
  for (const PackedRow& row : rows) {
    std::int64_t filled = 0;
    for (const DocumentPart& part : row) {
      EXPECT_TRUE(found.emplace(part.begin, part.end - part.begin).second);
      filled += part.end - part.begin;
    }
    EXPECT_LE(filled, 64);
  }
  ASSERT_EQ(found.size(), lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) EXPECT_EQ(found.at(corpus.document_starts[i]), lengths[i]);
  EXPECT_GT(static_cast<double>(all) / static_cast<double>(64 * rows.size()), 0.9) << "little of it is room";
}

TEST(Packing, ABatchScoresWhatTheCorpusSays) {
  const Corpus corpus = scored_corpus({6, 3, 5});  // scored: 5 6, 9, 14
  const std::vector<PackedRow> rows = pack_rows(corpus, 10);
  ASSERT_EQ(rows.size(), 2u);
  const Batch batch = packed_batch(corpus, rows, 10);
  EXPECT_EQ(values(batch.tokens[0]), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}));
  EXPECT_EQ(values(batch.targets[0]), (std::vector<std::int64_t>{-100, -100, -100, 5, 6, -100, -100, 9, -100, -100}));
  EXPECT_EQ(values(batch.segment_start[0]), (std::vector<std::int64_t>{0, 0, 0, 0, 0, 0, 6, 6, 6, 9}));
  EXPECT_EQ(values(batch.tokens[1]), (std::vector<std::int64_t>{10, 11, 12, 13, 14, 0, 0, 0, 0, 0}));
  EXPECT_EQ(values(batch.targets[1]), (std::vector<std::int64_t>{-100, -100, -100, 14, -100, -100, -100, -100, -100, -100}));
  EXPECT_EQ(values(batch.segment_start[1]), (std::vector<std::int64_t>{0, 0, 0, 0, 0, 5, 6, 7, 8, 9}));
}

TEST(Packing, ADocumentLongerThanARowIsCutIntoParts) {
  const Corpus corpus = scored_corpus({9});
  const std::vector<PackedRow> rows = pack_rows(corpus, 4);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].front().begin, 4);
  EXPECT_EQ(rows[2].front().end, 9);
  const Batch batch = packed_batch(corpus, rows, 4);  // scored: 7 8 9
  EXPECT_EQ(values(batch.targets),
            (std::vector<std::int64_t>{-100, -100, -100, -100, -100, 7, 8, -100, -100, -100, -100, -100}));
}

TEST(Packing, TheLimitLeavesDocumentsWhole) {
  const Corpus corpus = scored_corpus({6, 3, 5});
  const auto documents = [&](std::int64_t limit) {
    std::size_t count = 0;
    for (const PackedRow& row : pack_rows(corpus, 10, limit)) count += row.size();
    return count;
  };
  EXPECT_EQ(documents(1), 1u) << "never none";
  EXPECT_EQ(documents(8), 1u);
  EXPECT_EQ(documents(9), 2u);
  EXPECT_EQ(documents(0), 3u);
}

TEST(Packing, TheSamplerGivesEachDocumentOnceAnEpochAndGoesOnFromAPosition) {
  const Corpus corpus = scored_corpus({6, 3, 5, 7, 8, 4, 9, 2});
  BatchSampler sampler(corpus, 1, 10, 3);
  std::vector<Batch> batches;
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::multiset<std::int64_t> seen;
    for (std::int64_t row = 0; row < sampler.rows(); ++row) {
      batches.push_back(sampler.next());
      for (const std::int64_t token : values(batches.back().tokens)) {
        if (token > 0) seen.insert(token);
      }
    }
    EXPECT_EQ(std::ssize(seen), std::ssize(corpus.tokens));
    EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), corpus.tokens.size());
  }
  for (std::size_t at = 0; at < batches.size(); ++at) {
    BatchSampler resumed(corpus, 1, 10, 3);
    resumed.set_position(static_cast<std::int64_t>(at));
    EXPECT_TRUE(at::equal(resumed.next().tokens, batches[at].tokens)) << at;
  }
}

TEST(Packing, ScoresArePartOfTheCorpus) {
  Corpus one = scored_corpus({6, 3, 5}), other = one;
  other.scored[0] = 1;
  seal(other);
  EXPECT_NE(one.sha256, other.sha256);
  one.scored.clear();
  seal(one);
  EXPECT_NE(one.sha256, other.sha256);

  const HeldOut parts = hold_out_end(scored_corpus({6, 3, 5}), 0.5, 100);
  EXPECT_EQ(parts.training.scored, (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1, 0}));
  EXPECT_EQ(parts.evaluation.scored, (std::vector<std::uint8_t>{0, 1, 0, 0, 0, 0, 1}));
}

}  // namespace
}  // namespace hedgehog
