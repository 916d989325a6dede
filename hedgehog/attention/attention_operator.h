// kernels/attention.h as a differentiable function of tensors.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hedgehog {

using kernels::QueryRows;

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

/// A linear state: S = Σ φ(k) vᵀ in fp32, bf16 or int8 (times its row's scale), z = Σ φ(k) in fp32. All undefined: nothing yet.
struct OperatorState {
  at::Tensor s;      // [B, G, F, D]
  at::Tensor scale;  // [B, G, F], of int8 only
  at::Tensor z;      // [B, G, F]
};

/// What the recurrent and chunked forms add to a call without gradients. Results are equal to those of one long call, but for
/// the rounding of a state in bf16 or int8.
struct OperatorContinuation {
  OperatorState state;                      // brought up to date in its own memory
  at::ScalarType state_dtype = at::kFloat;  // of a state that begins with this call: kFloat, kBFloat16 or kChar
  std::int64_t rounding_seed = 0;           // another one for each call that continues a sequence
  at::Tensor prefix_k, prefix_v;            // [B, G, P, D] or undefined
  std::int64_t query_begin = 0;             // q, phi_q, row_log_scale have N − query_begin rows
  std::int64_t absorb_end = 0;              // key rows that go into the state
};
struct OperatorOutput {
  at::Tensor y;  // [B, H, N − query_begin, D]
  OperatorState state;
};
OperatorOutput continue_operator(const OperatorInput& input, const OperatorContinuation& continuation);

/// The weights' cross-entropy of arXiv 2402.04347, equation 4, per row, with the gradients of Σ cross_entropy · gradient_scale:
/// for the map's tensors or, where these are given, for the features.
struct DistillationOutput {
  at::Tensor cross_entropy, entropy;                 // fp32 [B, H, rows]
  at::Tensor teacher;                                // softmax's output [B, H, rows, D] in q's dtype; undefined: not asked for
  at::Tensor phi_q, phi_k, row_log_scale, log_gate;  // gradients, of the input's shapes; undefined where there is no such input
  OperatorMap map;                                   // gradients
};
/// `rows`: those that are distilled, at least one; `input` has all of them. Those of padding (key_count) have zeros and teach
/// nothing. gradient_scale 0: no gradients. `wants_teacher`: softmax's output too. teacher_window: causal only.
DistillationOutput distillation_operator(const OperatorInput& input, const QueryRows& rows, std::int64_t teacher_window,
                                         double gradient_scale, bool wants_teacher = false);

}  // namespace hedgehog
