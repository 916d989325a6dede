#include "hedgehog/data/batch_sampler.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace hedgehog {

BatchSampler::BatchSampler(const Corpus& corpus, std::int64_t batch, std::int64_t length, std::uint64_t seed)
    : corpus_(&corpus), batch_(batch), length_(length), seed_(seed) {
  check(batch > 0 && length > 1, "a batch of {} rows of {} tokens: expected at least 1 row of 2 tokens", batch, length);
  if (!corpus.scored.empty()) packed_ = pack_rows(corpus, length);
  check(rows() > 0, "{}: too short, {} tokens, for one row of {}; give more text or a smaller length", corpus.description,
        corpus.tokens.size(), length);
}

std::int64_t BatchSampler::rows() const {
  return corpus_->scored.empty() ? std::ssize(corpus_->tokens) / length_ : std::ssize(packed_);
}

void BatchSampler::set_position(std::int64_t position) {
  check(position >= 0, "a sampler's position cannot be {}", position);
  position_ = position;
}

// The number of the next row in this epoch's order.
std::int64_t BatchSampler::next_row() {
  if (const std::int64_t epoch = position_ / rows(); epoch != order_epoch_) {
    order_.resize(static_cast<std::size_t>(rows()));
    std::iota(order_.begin(), order_.end(), std::int64_t{0});
    Random random{Random{seed_, static_cast<std::uint64_t>(epoch)}.next()};
    shuffle(order_, random);
    order_epoch_ = epoch;
  }
  return order_[static_cast<std::size_t>(position_++ % rows())];
}

Batch BatchSampler::next_packed() {
  std::vector<PackedRow> rows;
  for (std::int64_t row = 0; row < batch_; ++row) rows.push_back(packed_[static_cast<std::size_t>(next_row())]);
  return packed_batch(*corpus_, rows, length_);
}

Batch BatchSampler::next() {
  if (!corpus_->scored.empty()) return next_packed();
  Batch batch{at::empty({batch_, length_}, at::kLong), at::empty({batch_, length_}, at::kLong),
              at::zeros({batch_, length_}, at::kInt)};
  auto* tokens = batch.tokens.mutable_data_ptr<std::int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<std::int64_t>();
  auto* segment = batch.segment_start.mutable_data_ptr<std::int32_t>();
  const std::vector<std::int64_t>& starts = corpus_->document_starts;
  const std::int64_t all = std::ssize(corpus_->tokens);
  bool packed = false;
  for (std::int64_t row = 0; row < batch_; ++row) {
    const std::int64_t first = next_row() * length_;
    auto next_document = std::upper_bound(starts.begin(), starts.end(), first);
    std::int64_t start = 0;  // in the row; a document cut by the row's own start begins there
    for (std::int64_t i = 0; i < length_; ++i) {
      const std::int64_t at = first + i;
      if (next_document != starts.end() && *next_document == at) {
        ++next_document;
        start = i;
        packed = true;
      }
      const std::int64_t to = row * length_ + i;
      const bool last = at + 1 == all || (next_document != starts.end() && *next_document == at + 1);
      tokens[to] = corpus_->tokens[static_cast<std::size_t>(at)];
      targets[to] = last ? -100 : corpus_->tokens[static_cast<std::size_t>(at + 1)];
      segment[to] = static_cast<std::int32_t>(start);
    }
  }
  if (!packed) batch.segment_start = at::Tensor();
  return batch;
}

}  // namespace hedgehog
