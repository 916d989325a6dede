// The activations of MLPs that have no gate.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace hedgehog {

/// "gelu": exact; "gelu_new", "gelu_pytorch_tanh": GELU by tanh; "relu". A configuration's reader has checked the name.
at::Tensor activate(const at::Tensor& x, const std::string& activation);

}  // namespace hedgehog
