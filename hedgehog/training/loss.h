// Next-token and teacher's-logits losses over a large vocabulary, a block of rows at a time: logits of the whole batch never
// exist.
#pragma once

#include <ATen/core/Tensor.h>

namespace hedgehog {

struct LanguageModelLoss {
  at::Tensor total;          // scalar, differentiable in `hidden` (and in `output_weight` if it requires a gradient)
  double cross_entropy = 0;  // mean over targets that are not -100
  double kl = 0;             // mean KL(teacher ‖ student), 0 without a teacher
  std::int64_t tokens = 0;
};

/// (1 − teacher_factor) · cross-entropy + teacher_factor · KL(teacher ‖ student).
/// hidden, teacher_hidden [rows, hidden_size]; output_weight [vocabulary, hidden_size], rounded to the hidden states' dtype
/// where it has another one; targets int64 [rows]. Gradients are computed in the forward pass, block by block. teacher_hidden
/// may be undefined when teacher_factor is 0.
LanguageModelLoss language_model_loss(const at::Tensor& hidden, const at::Tensor& output_weight, const at::Tensor& targets,
                                      const at::Tensor& teacher_hidden, const at::Tensor& teacher_output_weight,
                                      double teacher_factor);

}  // namespace hedgehog
