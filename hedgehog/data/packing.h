// Rows of whole documents: where only some tokens of a document are scored (Corpus::scored), a row that began in its middle
// would ask for an answer without the question.
#pragma once

#include "hedgehog/data/corpus.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace hedgehog {

struct Batch {
  at::Tensor tokens;         // int64 [batch, length]
  at::Tensor targets;        // int64 [batch, length]: the next token of the same document if it is scored, or -100
  at::Tensor segment_start;  // int32 [batch, length]; undefined when every row is one document
};

/// A document, or the part of one that fits a row: [begin, end) of the corpus's tokens.
struct DocumentPart {
  std::int64_t begin = 0, end = 0;
};
using PackedRow = std::vector<DocumentPart>;

/// The documents that end within the corpus's first `limit` tokens (0: all; never less than the first one), each in the row
/// where it leaves the least room. One that is longer than a row is cut into parts, which don't see each other.
std::vector<PackedRow> pack_rows(const Corpus& corpus, std::int64_t length, std::int64_t limit = 0);

/// The rows as one batch. The room that they leave is filled with token 0, each a document of its own that is not scored.
Batch packed_batch(const Corpus& corpus, std::span<const PackedRow> rows, std::int64_t length);

}  // namespace hedgehog
