// y = x Wᵀ + b for a few rows without gradients: decoding's products. ATen's fp32 product of one row with a large matrix
// reaches a fraction of the memory's bandwidth, and its bf16 product is slow on machines without bf16 instructions;
// kernels/cpu/matvec is not.
#pragma once

#include <ATen/core/Tensor.h>

namespace hedgehog {

/// True where small_batch_linear() takes these arguments: gradients off (at::NoGradGuard or InferenceMode), 1 to 4 rows,
/// all on the CPU, weight a contiguous fp32 or bf16 matrix, x fp32 or bf16, bias undefined or fp32 or bf16.
bool takes_small_batch(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// x [..., in], weight [out, in], bias [out] or undefined: [..., out] in the dtype of x. Sums are fp32 whatever the dtypes.
/// The same bits for any number of threads. Throws Error unless takes_small_batch().
at::Tensor small_batch_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace hedgehog
