// Products with a model's matrices: kernels/cpu/matrix_product for fp32 on the CPU, ATen for all else (bf16, other devices).
// No gradients: autograd functions call these.
#pragma once

#include <ATen/core/Tensor.h>

namespace hedgehog {

/// a [n, k] b [k, m]: [n, m]. Either may be a transposed view.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b);

/// out [n, m] = a b, or out += a b. `out` has contiguous rows.
void matrix_product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool add);

}  // namespace hedgehog
