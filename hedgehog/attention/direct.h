// Linear attention of short sequences by its weights: where φ(q)·φ(k) is a plain function of the score and a map has more
// features than there are rows (Taylor: F ≈ D²/2), N² weights cost less than N·F features.
#pragma once

#include "hedgehog/attention/attention_operator.h"

#include <ATen/core/Tensor.h>

namespace hedgehog {

/// y_i = Σ_j w_ij v_j / Σ_j w_ij over the keys that row i sees, w = of_score(q·k/√D), in fp32 and given back in q's dtype; 0
/// for a row whose sum is 0. Reads q, k, v, segment_start, key_count and causal of the input. O(N²) memory. Differentiable.
at::Tensor direct_attention(const OperatorInput& input, at::Tensor (*of_score)(const at::Tensor& scores));

}  // namespace hedgehog
