// A distillation call as its tasks see it, and what a task is given.
#pragma once

#include "hedgehog/kernels/attention.h"

namespace hedgehog::kernels {

/// attention_distillation's call.
struct DistillationCall {
  const AttentionArguments& arguments;
  const QueryRows& rows;
  std::int64_t teacher_window;
  float gradient_scale;
  const DistillationResult& output;
  const AttentionGradients& gradients;
};

/// Query rows [begin, end) of one query head, by their number in the call, none of them padding, which see key rows [0, keys).
/// Gradients that other
/// tasks add to as well are left in memory of the task's own, zeros at the start.
struct DistillationTask {
  std::int64_t b, h, begin, end, keys;
  float *q_weight, *q_bias, *k_weight, *k_bias;  // [M, D], [M]; null without a map
  float* phi_k;                                  // [keys, F]; null with a map
  float* q_dot;                                  // [end − begin], the caller's; null: not wanted
  float* k_dot;                                  // [keys]
};

}  // namespace hedgehog::kernels
