// The autograd function behind recompute(): forward without a graph, backward through a graph made on the spot.
#include "hedgehog/models/recompute.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace hedgehog {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What carries the function from the forward to the backward pass inside autograd's bag of values.
struct Holder : torch::CustomClassHolder {
  explicit Holder(TensorFunction f) : function(std::move(f)) {}
  TensorFunction function;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static variable_list forward(AutogradContext* context, at::TensorList inputs, const c10::intrusive_ptr<Holder>& holder) {
    context->save_for_backward(inputs.vec());
    context->saved_data["function"] = c10::IValue::make_capsule(holder);
    context->set_materialize_grads(false);
    // The last input is there to require a gradient, see below.
    const variable_list outputs = holder->function(variable_list(inputs.begin(), inputs.end() - 1));
    // An output that is an input would confuse autograd.
    variable_list fresh;
    for (const at::Tensor& output : outputs) {
      bool same = false;
      for (const at::Tensor& input : inputs) same |= input.is_same(output);
      fresh.push_back(same ? output.clone() : output);
    }
    return fresh;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto holder = c10::static_intrusive_pointer_cast<Holder>(context->saved_data["function"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const at::AutoGradMode enabled(true);
    variable_list inputs;
    for (std::size_t i = 0; i + 1 < saved.size(); ++i) {
      inputs.push_back(saved[i].detach().requires_grad_(context->needs_input_grad(i)));
    }
    const variable_list outputs = holder->function(inputs);
    variable_list roots, root_gradients;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      root_gradients.push_back(gradients[i]);
    }
    if (!roots.empty()) torch::autograd::backward(roots, root_gradients);
    variable_list result;
    for (const at::Tensor& input : inputs) result.push_back(input.grad());
    result.resize(saved.size() + 1);  // none for the last input and the function
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> recompute(TensorFunction function, const std::vector<at::Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return function(inputs);
  // Weights inside the function are hidden from autograd: without an input that requires a gradient it would not call the
  // backward pass of the first layer, whose own inputs need none.
  variable_list all = inputs;
  all.push_back(at::zeros({0}).requires_grad_(true));
  const at::TensorList list(all);
  return Recompute::apply(list, c10::make_intrusive<Holder>(std::move(function)));
}

}  // namespace hedgehog
