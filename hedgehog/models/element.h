// Which tensors kernels/cpu's loops over fp32 and bf16 take, and by what name.
#pragma once

#include "hedgehog/kernels/element.h"

#include <ATen/core/Tensor.h>

namespace hedgehog {

/// fp32 or bf16, on the CPU.
inline bool is_element(const at::Tensor& x) {
  return (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.is_cpu();
}

/// For an x that is_element().
inline kernels::Element element_of(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat ? kernels::Element::kFloat32 : kernels::Element::kBfloat16;
}

}  // namespace hedgehog
