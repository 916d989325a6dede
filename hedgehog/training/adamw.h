// AdamW (arXiv 1711.05101) over named parameters, with its whole state as named tensors that a checkpoint can hold.
// A bf16 parameter gets an fp32 master copy that takes the updates, and an fp32 sum of its gradients.
#pragma once

#include "hedgehog/checkpoint/safetensors.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

using NamedParameters = std::vector<std::pair<std::string, at::Tensor*>>;

class AdamW {
 public:
  static constexpr double kEpsilon = 1e-8;

  /// What is left after a step of the sums of gradients and of their squares.
  explicit AdamW(double beta1 = 0.9, double beta2 = 0.999) : beta1_(beta1), beta2_(beta2) {}

  /// Adds parameters with a learning rate and weight decay of their own. They must outlive the optimizer, fp32 or bf16.
  void add(const NamedParameters& parameters, double learning_rate, double weight_decay);

  /// Call after each backward pass: gradients of bf16 parameters join their fp32 sum. Those of fp32 ones stay in .grad.
  void collect_gradients();
  /// √Σ g² over all parameters; one without a gradient counts as 0.
  double gradient_norm() const;
  /// Clips the gradients to norm `clip` (0: no clipping), updates every parameter that has one by its learning rate times
  /// `rate_factor`, clears the gradients. Returns the norm before clipping.
  double step(double rate_factor, double clip);

  std::int64_t steps() const { return steps_; }

  /// "optimizer.<name>.exp_avg", ".exp_avg_sq", ".master" (bf16 only) and "optimizer.steps" (int64). Tensors are not copied.
  NamedTensors state() const;
  /// Takes over what state() gave. Throws Error for a tensor that is missing or of another shape.
  void restore(const TensorSource& source);

 private:
  struct Parameter {
    std::string name;
    at::Tensor* tensor;
    at::Tensor exp_avg, exp_avg_sq;  // fp32
    at::Tensor master, gradient;     // bf16 parameters only
    double learning_rate, weight_decay;
    at::Tensor& gradient_slot() { return gradient.defined() ? gradient : tensor->mutable_grad(); }
    at::Tensor current_gradient() const { return gradient.defined() ? gradient : tensor->grad(); }
  };
  double beta1_, beta2_;
  std::vector<Parameter> parameters_;
  std::int64_t steps_ = 0;
};

}  // namespace hedgehog
