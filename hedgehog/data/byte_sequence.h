// Classified sequences whose symbols are bytes, and their rows of ids: Long Range Arena's texts, lists and papers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {

struct ByteSequence {
  std::vector<std::uint8_t> symbols;
  std::int64_t label = 0;
};

/// The id of a symbol is one more than it: 0 is padding. A vocabulary of s symbols has s + 1 ids; for text that is 257.
inline constexpr std::int64_t kPaddingId = 0;
inline constexpr std::int64_t kByteIds = 257;

/// Fills `row` with the symbols' ids, cut where the row ends, padding after the last. Returns how many are no padding.
std::size_t fill_row(std::span<const std::uint8_t> symbols, std::span<std::int64_t> row);

struct PaddedBatch {
  at::Tensor ids;      // int64 [batch, length]
  at::Tensor lengths;  // int64 [batch]: ids of each row that are no padding
  at::Tensor labels;   // int64 [batch]
};

/// Rows of `length` ids of the sequences at `indices`. Throws Error for an index out of range or a length below 1.
PaddedBatch padded_batch(std::span<const ByteSequence> sequences, std::span<const std::int64_t> indices, std::int64_t length);

}  // namespace hedgehog
