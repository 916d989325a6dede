#include "hedgehog/training/hidden_states.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace hedgehog {

at::Tensor hidden_error(const HiddenStates& model, const HiddenStates& teacher, const at::Tensor& key_count) {
  at::Tensor sum = at::zeros({}, at::kFloat);
  for (std::size_t i = 1; i < model.layers.size(); ++i) {
    const at::Tensor x = model.layers[i].to(at::kFloat), taught = teacher.layers[i].to(at::kFloat);
    at::Tensor difference = (x - taught).square().sum(-1), norm = taught.square().sum(-1);
    if (key_count.defined()) {
      const auto padding = at::arange(norm.size(1), key_count.options()).unsqueeze(0).ge(key_count.unsqueeze(1));
      difference = difference.masked_fill(padding, 0);
      norm = norm.masked_fill(padding, 0);
    }
    sum = sum + difference.sum() / norm.sum();
  }
  return sum / static_cast<double>(std::max<std::size_t>(model.layers.size() - 1, 1));
}

}  // namespace hedgehog
