// What a model keeps of a text while it reads on: the memory that grows with the context, or does not.
#pragma once

#include "hedgehog/models/decoder.h"

#include <cstdint>
#include <string>

namespace hedgehog {

/// What all layers may keep of one sequence of so many tokens.
struct MemoryBudget {
  std::int64_t bytes = 0, tokens = 0;
};

/// "64MiB@32k": bytes, or KiB, MiB, GiB, kB, MB, GB of them, at tokens, or k (1,024) of them. Throws Error for other text.
MemoryBudget memory_budget(const std::string& text);

/// What `attention` keeps of one sequence of `tokens` tokens: exact keys and values in `dtype`, the linear state in fp32. A
/// cache of softmax that grows has room for up to half as many tokens more.
std::int64_t context_bytes(const Attention& attention, const DecoderConfig& model, std::int64_t tokens, at::ScalarType dtype);
/// Of all layers.
std::int64_t context_bytes(const Decoder& model, std::int64_t tokens);

}  // namespace hedgehog
