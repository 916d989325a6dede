// kernels/attention.h as a differentiable function of tensors.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hedgehog {

/// A feature map that the kernel applies itself, in place of phi_q and phi_k: weights [H, M, D] and [G, M, D], biases [H, M]
/// and [G, M], fp32. k_reference [B, G, N], kExp's alone: see kernels::FeatureMap; no gradient, it cancels.
struct OperatorMap {
  kernels::Activation activation = kernels::Activation::kSplitSoftmax;
  at::Tensor q_weight, q_bias, k_weight, k_bias, k_reference;
};

/// Tensors of one call, shapes as in kernels/attention.h: q [B, H, N, D], k and v [B, G, N, D], phi_q [B, H, N, F],
/// phi_k [B, G, N, F], row_log_scale [B, H, N], log_gate [B, G, N], segment_start int32 [B, N], key_count int32 [B].
/// All but q, k, v may be undefined. q, k, v may be bf16: sums are fp32, and so are products but where the processor
/// multiplies bf16.
struct OperatorInput {
  at::Tensor q, k, v, phi_q, phi_k, row_log_scale, log_gate, segment_start, key_count;
  std::int64_t window = 0, sinks = 0;
  bool causal = true;
  OperatorMap map;  // q_weight undefined: none
};

/// x [B, G, ...] of key/value heads, each repeated for the query heads of its group: [B, heads, ...].
at::Tensor to_query_heads(const at::Tensor& x, std::int64_t heads);

/// [B, H, N, D] in q's dtype. Scores are scaled by 1/√D. Differentiable in all floating tensors.
at::Tensor attention_operator(const OperatorInput& input);

/// What the recurrent and chunked forms add to a call without gradients. Results are equal to those of one long call.
struct OperatorContinuation {
  at::Tensor state_in;            // fp32 [B, G, F, D + 1] or undefined
  at::Tensor prefix_k, prefix_v;  // [B, G, P, D] or undefined
  std::int64_t query_begin = 0;   // q, phi_q, row_log_scale have N − query_begin rows
  std::int64_t absorb_end = 0;    // key rows that go into state_out
};
struct OperatorOutput {
  at::Tensor y;          // [B, H, N − query_begin, D]
  at::Tensor state_out;  // fp32 [B, G, F, D + 1]
};
OperatorOutput continue_operator(const OperatorInput& input, const OperatorContinuation& continuation);

/// The weights' cross-entropy of arXiv 2402.04347, equation 4, per row, with the gradients of Σ cross_entropy · gradient_scale:
/// for the map's tensors or, where these are given, for the features.
struct DistillationOutput {
  at::Tensor cross_entropy, entropy;                 // fp32 [B, H, N]
  at::Tensor teacher;                                // softmax's output [B, H, N, D] in q's dtype; undefined: not asked for
  at::Tensor phi_q, phi_k, row_log_scale, log_gate;  // gradients; undefined where there is no such input
  OperatorMap map;                                   // gradients
};
/// gradient_scale 0: no gradients. `wants_teacher`: softmax's output too.
DistillationOutput distillation_operator(const OperatorInput& input, std::int64_t teacher_window, double gradient_scale,
                                         bool wants_teacher = false);

}  // namespace hedgehog
