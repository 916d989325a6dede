#include "hedgehog/models/activation.h"

#include <ATen/ATen.h>

namespace hedgehog {

at::Tensor activate(const at::Tensor& x, const std::string& activation) {
  if (activation == "relu") return at::relu(x);
  return at::gelu(x, activation == "gelu" ? "none" : "tanh");
}

}  // namespace hedgehog
