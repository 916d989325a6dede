// Linear attention over all keys of a document, not causal: S = Σ_j φ(k_j) [v_j, 1]ᵀ once, then every row reads it.
#pragma once

#include "hedgehog/kernels/attention.h"

namespace hedgehog::kernels {

/// The not causal case of attention_forward: features > 0, no window, no gate, no state.
void bidirectional_forward(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                           const ParallelFor& parallel_for);

/// The not causal case of attention_backward.
void bidirectional_backward(const AttentionArguments& arguments, const Rows& out, const Rows& out_gradient,
                            const float* inverse_sum, const AttentionGradients& gradients, const ParallelFor& parallel_for);

}  // namespace hedgehog::kernels
