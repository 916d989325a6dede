// A part of a layer's heads.
#pragma once

#include "hedgehog/attention/attention.h"

namespace hedgehog {

/// The input of some query heads and of the key/value heads that they share; both int64, in order.
AttentionInput input_of_heads(const AttentionInput& input, const at::Tensor& heads, const at::Tensor& kv_heads);

}  // namespace hedgehog
