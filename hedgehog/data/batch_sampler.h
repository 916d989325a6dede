// Packed batches out of a corpus: rows of `length` tokens that may hold several documents, which don't attend across their
// borders. Documents are cut at a row's ends, unless only some tokens are scored: then rows hold whole ones (packing.h).
#pragma once

#include "hedgehog/base/random.h"
#include "hedgehog/data/packing.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// Cuts the corpus into rows once, then walks over them in an order shuffled anew each epoch by (seed, epoch).
class BatchSampler {
 public:
  BatchSampler(const Corpus& corpus, std::int64_t batch, std::int64_t length, std::uint64_t seed);
  Batch next();
  /// Rows handed out so far: all that is needed to go on.
  std::int64_t position() const { return position_; }
  void set_position(std::int64_t position);
  std::int64_t rows() const;

 private:
  std::int64_t next_row();
  Batch next_packed();

  const Corpus* corpus_;
  std::int64_t batch_, length_;
  std::uint64_t seed_;
  std::vector<PackedRow> packed_;  // of a corpus with scores
  std::int64_t position_ = 0;
  std::vector<std::int64_t> order_;
  std::int64_t order_epoch_ = -1;
};

}  // namespace hedgehog
