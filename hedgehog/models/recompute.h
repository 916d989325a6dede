// Gradient checkpointing (arXiv 1604.06174): a part of the model keeps its inputs only and is run again in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace hedgehog {

using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// function(inputs), which must give the same result when it is called again. The gradients of leaves that `function` holds
/// (weights) are added to their .grad() during the backward pass, as if it had not been checkpointed.
std::vector<at::Tensor> recompute(TensorFunction function, const std::vector<at::Tensor>& inputs);

}  // namespace hedgehog
