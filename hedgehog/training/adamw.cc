#include "hedgehog/training/adamw.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>

#include <cmath>

namespace hedgehog {
namespace {

/// Loads into the memory that is there, so that whoever shares the tensor sees it too.
void load_into(at::Tensor& tensor, const TensorSource& source, const std::string& name) {
  const at::Tensor loaded = source.load(name);
  check(loaded.sizes() == tensor.sizes() && loaded.scalar_type() == tensor.scalar_type(),
        "{}: '{}' has another shape or dtype than the model's", source.origin(), name);
  tensor.copy_(loaded);
}

}  // namespace

void AdamW::add(const NamedParameters& parameters, double learning_rate, double weight_decay) {
  for (const auto& [name, tensor] : parameters) {
    Parameter parameter{name, tensor, {}, {}, {}, {}, learning_rate, weight_decay};
    parameter.exp_avg = at::zeros(tensor->sizes(), at::kFloat);
    parameter.exp_avg_sq = at::zeros(tensor->sizes(), at::kFloat);
    if (tensor->scalar_type() != at::kFloat) {
      parameter.master = tensor->detach().to(at::kFloat);
      parameter.gradient = at::zeros(tensor->sizes(), at::kFloat);
    }
    parameters_.push_back(std::move(parameter));
  }
}

void AdamW::collect_gradients() {
  for (Parameter& parameter : parameters_) {
    if (parameter.gradient.defined() && parameter.tensor->grad().defined()) {
      parameter.gradient.add_(parameter.tensor->grad());
      parameter.tensor->mutable_grad() = at::Tensor();
    }
  }
}

double AdamW::gradient_norm() const {
  double sum = 0;
  for (const Parameter& parameter : parameters_) {
    if (const at::Tensor gradient = parameter.current_gradient(); gradient.defined()) {
      const double norm = at::linalg_vector_norm(gradient).item<double>();
      sum += norm * norm;
    }
  }
  return std::sqrt(sum);
}

double AdamW::step(double rate_factor, double clip) {
  const at::NoGradGuard no_gradient;
  const double norm = gradient_norm();
  check(std::isfinite(norm), "the gradient's norm is {} in step {}: a smaller learning rate may help", norm, steps_ + 1);
  ++steps_;
  for (Parameter& parameter : parameters_) {
    at::Tensor gradient = parameter.current_gradient();
    if (!gradient.defined()) continue;
    if (clip > 0 && norm > clip) gradient.mul_(clip / norm);
    at::Tensor updated = parameter.master.defined() ? parameter.master : parameter.tensor->detach();
    // The kernel takes the number of steps before this one's increment has been applied to the bias correction.
    const at::Tensor count = at::scalar_tensor(static_cast<double>(steps_), at::kFloat);
    at::_fused_adamw_({updated}, {gradient.contiguous()}, {parameter.exp_avg}, {parameter.exp_avg_sq}, {}, {count},
                      parameter.learning_rate * rate_factor, beta1_, beta2_, parameter.weight_decay, kEpsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
    if (parameter.master.defined()) {
      parameter.tensor->detach().copy_(parameter.master);
      parameter.gradient.zero_();
    } else {
      parameter.tensor->mutable_grad() = at::Tensor();
    }
  }
  return norm;
}

NamedTensors AdamW::state() const {
  NamedTensors state;
  for (const Parameter& parameter : parameters_) {
    const std::string prefix = "optimizer." + parameter.name;
    state.emplace_back(prefix + ".exp_avg", parameter.exp_avg);
    state.emplace_back(prefix + ".exp_avg_sq", parameter.exp_avg_sq);
    if (parameter.master.defined()) state.emplace_back(prefix + ".master", parameter.master);
  }
  state.emplace_back("optimizer.steps", at::scalar_tensor(steps_, at::kLong));
  return state;
}

void AdamW::restore(const TensorSource& source) {
  const at::NoGradGuard no_gradient;
  for (Parameter& parameter : parameters_) {
    const std::string prefix = "optimizer." + parameter.name;
    load_into(parameter.exp_avg, source, prefix + ".exp_avg");
    load_into(parameter.exp_avg_sq, source, prefix + ".exp_avg_sq");
    if (parameter.master.defined()) load_into(parameter.master, source, prefix + ".master");
  }
  steps_ = source.load("optimizer.steps").item<std::int64_t>();
}

}  // namespace hedgehog
