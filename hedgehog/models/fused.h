// RMSNorm (arXiv 1910.07467) and SwiGLU (arXiv 2002.05202) as differentiable operators with backward passes of their own.
// fp32 and bf16 on the CPU take one pass over memory, arithmetic in fp32; other dtypes are composed of LibTorch's operators.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace hedgehog {

/// w · x / sqrt(mean(x²) + ε) over the last dimension. x [..., dim], weight [dim].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// s = x + delta, and rms_norm(s): the residual addition and the norm behind it in one pass. Returns {s, norm}.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                                               double epsilon);

/// silu(gate) · up, same shapes.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace hedgehog
