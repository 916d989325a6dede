// The innermost loop of the language-model loss, on one row of logits; vectorised for each instruction set by Highway.
#pragma once

#include <cstddef>

namespace hedgehog::kernels {

struct RowLoss {
  double cross_entropy = 0;  // −log q_target
  double kl = 0;             // KL(p ‖ q), 0 without a teacher
};

/// q = softmax(logits), p = softmax(teacher_logits). Overwrites `logits` with the gradient
/// scale · (q − (1 − teacher_factor) · onehot(target) − teacher_factor · p) of
/// scale · ((1 − teacher_factor) · cross-entropy + teacher_factor · KL). `teacher_logits` may be null when teacher_factor is 0.
RowLoss cross_entropy_row(float* logits, const float* teacher_logits, std::size_t count, std::size_t target,
                          float teacher_factor, float scale);

}  // namespace hedgehog::kernels
