// Autograd functions over kernels/cpu/elementwise.h, and their composed stand-ins for other dtypes.
#include "hedgehog/models/fused.h"

#include "hedgehog/kernels/cpu/elementwise.h"
#include "hedgehog/models/element.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <initializer_list>

namespace hedgehog {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrain = 16384;  // elements that are worth a thread

/// True where the kernels take all, and all are of one dtype.
bool fusible(std::initializer_list<at::Tensor> tensors) {
  const at::ScalarType dtype = tensors.begin()->scalar_type();
  return std::all_of(tensors.begin(), tensors.end(),
                     [dtype](const at::Tensor& x) { return x.scalar_type() == dtype && is_element(x); });
}

std::int64_t row_grain(std::int64_t dim) {
  return std::max<std::int64_t>(1, kGrain / dim);
}

struct NormResult {
  at::Tensor sum, y, rstd;
};

NormResult norm_forward(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight, double epsilon) {
  const std::int64_t dim = x.size(-1), rows = dim == 0 ? 0 : x.numel() / dim;
  NormResult result{{}, at::empty(x.sizes(), x.options()), at::empty({rows}, x.options().dtype(at::kFloat))};
  if (delta.defined()) result.sum = at::empty(x.sizes(), x.options());
  const kernels::RmsNormRows args{element_of(x),
                                  x.const_data_ptr(),
                                  delta.defined() ? delta.const_data_ptr() : nullptr,
                                  weight.const_data_ptr(),
                                  static_cast<float>(epsilon),
                                  dim,
                                  delta.defined() ? result.sum.mutable_data_ptr() : nullptr,
                                  result.y.mutable_data_ptr(),
                                  result.rstd.mutable_data_ptr<float>()};
  at::parallel_for(0, rows, row_grain(dim),
                   [&](std::int64_t begin, std::int64_t end) { kernels::rms_norm_rows(args, begin, end); });
  return result;
}

at::Tensor norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& rstd,
                         const at::Tensor& dsum) {
  const std::int64_t dim = x.size(-1);
  at::Tensor dx = at::empty(x.sizes(), x.options());
  const kernels::RmsNormBackwardRows args{element_of(x),
                                          dy.const_data_ptr(),
                                          x.const_data_ptr(),
                                          weight.const_data_ptr(),
                                          rstd.const_data_ptr<float>(),
                                          dsum.defined() ? dsum.const_data_ptr() : nullptr,
                                          dim,
                                          dx.mutable_data_ptr()};
  at::parallel_for(0, rstd.numel(), row_grain(dim),
                   [&](std::int64_t begin, std::int64_t end) { kernels::rms_norm_backward_rows(args, begin, end); });
  return dx;
}

at::Tensor weight_gradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& rstd) {
  const std::int64_t dim = x.size(-1);
  return (dy.reshape({-1, dim}) * rstd.unsqueeze(-1) * x.reshape({-1, dim})).sum(0).to(x.scalar_type());
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_any, const at::Tensor& weight_any, double epsilon) {
    const at::Tensor x = x_any.contiguous(), weight = weight_any.contiguous();
    const NormResult result = norm_forward(x, {}, weight, epsilon);
    context->save_for_backward({x, weight, result.rstd});
    return result.y;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dx, dweight;
    if (context->needs_input_grad(0)) dx = norm_backward(dy, saved[0], saved[1], saved[2], {});
    if (context->needs_input_grad(1)) dweight = weight_gradient(dy, saved[0], saved[2]);
    return {dx, dweight, {}};
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& delta,
                               const at::Tensor& weight_any, double epsilon) {
    const at::Tensor weight = weight_any.contiguous();
    const NormResult result = norm_forward(x.contiguous(), delta.contiguous(), weight, epsilon);
    context->save_for_backward({result.sum, weight, result.rstd});
    context->set_materialize_grads(false);
    return {result.sum, result.y};
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dsum = gradients[0].defined() ? gradients[0].contiguous() : at::Tensor();
    if (!gradients[1].defined()) return {dsum, dsum, {}, {}};
    const at::Tensor dy = gradients[1].contiguous();
    at::Tensor dx, dweight;
    if (context->needs_input_grad(0) || context->needs_input_grad(1)) {
      dx = norm_backward(dy, saved[0], saved[1], saved[2], dsum);
    }
    if (context->needs_input_grad(2)) dweight = weight_gradient(dy, saved[0], saved[2]);
    return {dx, dx, dweight, {}};
  }
};

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_any, const at::Tensor& up_any) {
    const at::Tensor gate = gate_any.contiguous(), up = up_any.contiguous();
    at::Tensor y = at::empty(gate.sizes(), gate.options());
    const kernels::Swiglu args{element_of(gate), gate.const_data_ptr(), up.const_data_ptr(), y.mutable_data_ptr()};
    at::parallel_for(0, y.numel(), kGrain,
                     [&](std::int64_t begin, std::int64_t end) { kernels::swiglu_range(args, begin, end); });
    context->save_for_backward({gate, up});
    return y;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dgate = at::empty(dy.sizes(), dy.options()), dup = at::empty(dy.sizes(), dy.options());
    const kernels::SwigluBackward args{
        element_of(dy),           dy.const_data_ptr(),   saved[0].const_data_ptr(), saved[1].const_data_ptr(),
        dgate.mutable_data_ptr(), dup.mutable_data_ptr()};
    at::parallel_for(0, dy.numel(), kGrain,
                     [&](std::int64_t begin, std::int64_t end) { kernels::swiglu_backward_range(args, begin, end); });
    return {dgate, dup};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& any_weight, double epsilon) {
  const at::Tensor weight = any_weight.to(x.scalar_type());
  if (fusible({x, weight})) return RmsNorm::apply(x, weight, epsilon);
  const at::ScalarType statistics = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(statistics);
  const at::Tensor rstd = (wide.square().mean(-1, /*keepdim=*/true) + epsilon).rsqrt();
  return (wide * rstd).to(x.scalar_type()) * weight;
}

std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& any_weight,
                                               double epsilon) {
  const at::Tensor weight = any_weight.to(x.scalar_type());
  if (fusible({x, delta, weight})) {
    variable_list outputs = AddRmsNorm::apply(x, delta, weight, epsilon);
    return {outputs[0], outputs[1]};
  }
  const at::Tensor sum = x + delta;
  return {sum, rms_norm(sum, weight, epsilon)};
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (fusible({gate, up})) return SwigluFunction::apply(gate, up);
  return at::silu(gate) * up;
}

}  // namespace hedgehog
