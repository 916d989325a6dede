// y = x Wᵀ + b, with an optional low-rank addition (LoRA, arXiv 2106.09685): y += (α/r) (x Aᵀ) Bᵀ.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace hedgehog {

struct Linear {
  at::Tensor weight;  // [out, in], fp32 or bf16
  at::Tensor bias;    // [out] or undefined
  at::Tensor lora_a;  // fp32 [rank, in] or undefined
  at::Tensor lora_b;  // fp32 [out, rank]
  double lora_scale = 0;

  /// [..., in] to [..., out]. The gradient of `weight` is computed only if it requires one.
  at::Tensor forward(const at::Tensor& x) const;
  /// Starts a low-rank addition: A Kaiming-uniform from `seed`, B zero, both requiring gradients. Replaces one that was there.
  void add_lora(std::int64_t rank, double alpha, std::uint64_t seed);
  /// weight += (α/r) B A in a new tensor (others may share the old one), and drops A and B.
  void merge_lora();
  /// Drops A and B, if they are there.
  void drop_lora();
};

/// Several linears of one input: x is saved once for the backward pass, and its gradient is summed in the GEMMs.
/// x [..., in], results [..., out_i], in x's dtype, to which weights of another one are rounded.
std::vector<at::Tensor> project(const at::Tensor& x, std::initializer_list<const Linear*> linears);

}  // namespace hedgehog
