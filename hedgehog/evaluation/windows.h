// A corpus cut into windows that don't overlap, for measuring: every token once, in order, nothing shuffled.
#pragma once

#include "hedgehog/data/corpus.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct WindowBatch {
  at::Tensor tokens;         // int64 [batch, length]
  at::Tensor segment_start;  // int32 [batch, length]; undefined when no document starts inside a window
  at::Tensor rows;           // int64 [scored]: flat positions b·length + t whose next token is in the same window and document
  at::Tensor targets;        // int64 [scored]: those next tokens
};

/// Windows of `length` tokens out of the first `limit` tokens (0: all), `batch` of them at a time. The last window may be
/// shorter, and is then a batch of its own. Of a corpus with scores (Corpus::scored) windows are packed rows of whole documents
/// and only scored tokens are targets. Throws Error for senseless sizes and for fewer than two tokens.
std::vector<WindowBatch> cut_windows(const Corpus& corpus, std::int64_t length, std::int64_t limit, std::int64_t batch);

}  // namespace hedgehog
