#include "hedgehog/models/small_linear.h"

#include "hedgehog/base/error.h"
#include "hedgehog/kernels/cpu/matvec.h"
#include "hedgehog/models/element.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

namespace hedgehog {
bool takes_small_batch(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (at::GradMode::is_enabled() || !is_element(x) || !is_element(weight) || weight.dim() != 2 || x.dim() < 1) {
    return false;
  }
  const std::int64_t inputs = weight.size(1);
  if (inputs == 0 || x.size(-1) != inputs) {
    return false;
  }
  const std::int64_t rows = x.numel() / inputs;
  return rows >= 1 && rows <= kernels::kMatvecRows && weight.is_contiguous() &&
         (!bias.defined() || (is_element(bias) && bias.numel() == weight.size(0)));
}

at::Tensor small_batch_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check(takes_small_batch(x, weight, bias), "small_batch_linear: expected 1 to 4 rows of fp32 or bf16 without gradients");
  const at::Tensor input = x.to(at::kFloat).contiguous();
  const at::Tensor addend = bias.defined() ? bias.to(at::kFloat).contiguous() : at::Tensor();
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor output = at::empty(shape, input.options());

  kernels::Matvec operation;
  operation.weight = weight.const_data_ptr();
  operation.weight_element = element_of(weight);
  operation.x = input.const_data_ptr<float>();
  operation.bias = addend.defined() ? addend.const_data_ptr<float>() : nullptr;
  operation.y = output.mutable_data_ptr<float>();
  operation.outputs = weight.size(0);
  operation.inputs = weight.size(1);
  operation.rows = input.numel() / operation.inputs;

  // Below this much of W a second thread costs more than it saves.
  constexpr std::int64_t kThreadWeights = 1 << 15;
  const std::int64_t grain = std::max<std::int64_t>(4, kThreadWeights / operation.inputs);
  at::parallel_for(0, operation.outputs, grain,
                   [&](std::int64_t first, std::int64_t last) { kernels::matvec(operation, first, last); });
  return output.to(x.scalar_type());
}

}  // namespace hedgehog
