// Softmax attention, LibTorch's: softmax(q kᵀ/√D) v.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace hedgehog {

/// q [B, H, N, D], k, v [B, H or fewer, M, D] of one dtype; query heads share key heads in order. `seen`: bool, broadcast to
/// [B, H, N, M], whose rows should have a true value each; `causal` is the mask of a square without one. Fewer than 512 keys of
/// bf16 are attended to in fp32. Differentiable.
at::Tensor scaled_dot_product(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const std::optional<at::Tensor>& seen, bool causal);

}  // namespace hedgehog
