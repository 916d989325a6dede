#include "hedgehog/data/byte_sequence.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace hedgehog {

std::size_t fill_row(std::span<const std::uint8_t> symbols, std::span<std::int64_t> row) {
  const std::size_t count = std::min(symbols.size(), row.size());
  for (std::size_t i = 0; i < count; ++i) row[i] = symbols[i] + 1;
  std::fill(row.begin() + static_cast<std::ptrdiff_t>(count), row.end(), kPaddingId);
  return count;
}

PaddedBatch padded_batch(std::span<const ByteSequence> sequences, std::span<const std::int64_t> indices, std::int64_t length) {
  check(length > 0, "a batch of sequences needs a length of at least 1, found {}", length);
  const std::int64_t count = std::ssize(indices);
  PaddedBatch batch{at::empty({count, length}, at::kLong), at::empty({count}, at::kLong), at::empty({count}, at::kLong)};
  auto* ids = batch.ids.mutable_data_ptr<std::int64_t>();
  auto* lengths = batch.lengths.mutable_data_ptr<std::int64_t>();
  auto* labels = batch.labels.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = indices[static_cast<std::size_t>(i)];
    check(index >= 0 && index < std::ssize(sequences), "there is no sequence {} of {}", index, sequences.size());
    const ByteSequence& sequence = sequences[static_cast<std::size_t>(index)];
    const std::span row(ids + i * length, static_cast<std::size_t>(length));
    lengths[i] = static_cast<std::int64_t>(fill_row(sequence.symbols, row));
    labels[i] = sequence.label;
  }
  return batch;
}

}  // namespace hedgehog
