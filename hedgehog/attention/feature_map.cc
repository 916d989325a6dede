#include "hedgehog/attention/feature_map.h"

#include "hedgehog/attention/parallel.h"
#include "hedgehog/base/error.h"
#include "hedgehog/kernels/feature_map.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <fmt/ranges.h>

#include <array>

namespace hedgehog {
namespace {

struct FeatureMapEntry {
  const char* name;
  kernels::Activation activation;
};

constexpr std::array kFeatureMaps = {
    FeatureMapEntry{"hedgehog-softmax", kernels::Activation::kSplitSoftmax},
    FeatureMapEntry{"hedgehog-exp", kernels::Activation::kExp},
    FeatureMapEntry{"hedgehog-joint", kernels::Activation::kJointSoftmax},
};

const FeatureMapEntry* find(const std::string& name) {
  for (const auto& entry : kFeatureMaps) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

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

}  // namespace

std::vector<std::string> feature_map_names() {
  std::vector<std::string> names;
  for (const auto& entry : kFeatureMaps) names.emplace_back(entry.name);
  return names;
}

void check_feature_map(const std::string& name) {
  check(find(name) != nullptr, "feature map \"{}\" is not known; there are: {}", name, fmt::join(feature_map_names(), ", "));
}

kernels::Activation activation_of(const std::string& name) {
  check_feature_map(name);
  return find(name)->activation;
}

Features feature_map(const std::string& name, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const kernels::Activation activation = activation_of(name);
  const auto u = at::matmul(x.to(at::kFloat), weight.transpose(-1, -2)) + bias.unsqueeze(-2);  // [batch, heads, length, M]
  auto outputs = ActivationFunction::apply(u, static_cast<std::int64_t>(activation));
  Features features{outputs[0], {}};
  if (activation == kernels::Activation::kExp) features.log_scale = outputs[1];
  return features;
}

at::Tensor key_log_scales(const at::Tensor& k, const at::Tensor& weight, const at::Tensor& bias) {
  const bool bf16 = k.scalar_type() == at::kBFloat16;
  const auto keys = (bf16 ? k : k.to(at::kFloat)).detach(), rows = keys.stride(-1) == 1 ? keys : keys.contiguous();
  const auto w = weight.detach().contiguous(), b = bias.detach().contiguous();
  kernels::AttentionShape shape;
  shape.batch = k.size(0);
  shape.kv_heads = k.size(1);
  shape.length = k.size(2);
  shape.dim = k.size(3);
  auto scales = at::empty({shape.batch, shape.kv_heads, shape.length}, w.options());
  kernels::key_log_scales(shape,
                          {rows.const_data_ptr(), bf16 ? kernels::Element::kBfloat16 : kernels::Element::kFloat32,
                           rows.stride(0), rows.stride(1), rows.stride(2)},
                          w.size(1), w.const_data_ptr<float>(), b.const_data_ptr<float>(), scales.mutable_data_ptr<float>(),
                          torch_threads());
  return scales;
}

}  // namespace hedgehog
