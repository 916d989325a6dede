// Which attention each layer of a model gets.
#pragma once

#include "hedgehog/attention/attention.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

/// `config` for each of `layers`, softmax for those in `keep_softmax`. Throws Error for a layer that is not there.
std::vector<AttentionConfig> layer_attention(const AttentionConfig& config, const std::vector<std::int64_t>& keep_softmax,
                                             std::int64_t layers);

}  // namespace hedgehog
