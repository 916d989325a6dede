#include "hedgehog/attention/maps/map.h"
#include "hedgehog/attention/parallel.h"
#include "hedgehog/kernels/feature_map.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace hedgehog::maps {
namespace {

// Rows that are worth a thread of their own: a few microseconds of work.
constexpr std::int64_t kRowGrain = 64;

// u [..., M] to (φ [..., 2M], log scale [...]).
class ActivationFunction : public torch::autograd::Function<ActivationFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                                                std::int64_t activation) {
    const auto u = input.contiguous();
    auto sizes = u.sizes().vec();
    const std::int64_t width = sizes.back(), rows = width > 0 ? u.numel() / width : 0;
    auto log_scale = at::zeros(at::IntArrayRef(sizes.data(), sizes.size() - 1), u.options());
    sizes.back() = 2 * width;
    auto phi = at::empty(sizes, u.options());
    kernels::activate(static_cast<kernels::Activation>(activation), rows, width, u.const_data_ptr<float>(),
                      phi.mutable_data_ptr<float>(), log_scale.mutable_data_ptr<float>(), torch_threads(kRowGrain));
    context->saved_data["activation"] = activation;
    context->save_for_backward({phi});
    context->mark_non_differentiable({log_scale});
    return {phi, log_scale};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto phi = context->get_saved_variables()[0];
    const auto gradient = gradients[0].contiguous();
    auto sizes = phi.sizes().vec();
    const std::int64_t width = sizes.back() / 2, rows = width > 0 ? phi.numel() / (2 * width) : 0;
    sizes.back() = width;
    auto u_gradient = at::empty(sizes, phi.options());
    kernels::activate_backward(static_cast<kernels::Activation>(context->saved_data["activation"].toInt()), rows, width,
                               phi.const_data_ptr<float>(), gradient.const_data_ptr<float>(),
                               u_gradient.mutable_data_ptr<float>(), torch_threads(kRowGrain));
    return {u_gradient, {}};
  }
};

Features activated(const at::Tensor& u, kernels::Activation activation) {
  auto outputs = ActivationFunction::apply(u, static_cast<std::int64_t>(activation));
  return {outputs[0], activation == kernels::Activation::kExp ? outputs[1] : at::Tensor()};
}

}  // namespace

Features split_softmax(const MapRows& rows) {
  return activated(rows.u, kernels::Activation::kSplitSoftmax);
}

Features joint_softmax(const MapRows& rows) {
  return activated(rows.u, kernels::Activation::kJointSoftmax);
}

Features exp_pair(const MapRows& rows) {
  return activated(rows.u, kernels::Activation::kExp);
}

}  // namespace hedgehog::maps
