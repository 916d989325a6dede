// A model family lists its weights once, by Hugging Face name and shape, and hands the list to a visitor: one that loads them,
// one that makes them anew, one that collects them.
#pragma once

#include "hedgehog/checkpoint/tensor_source.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog {

using WeightVisitor = std::function<void(const std::string& name, at::Tensor& tensor, const std::vector<std::int64_t>& shape)>;

/// What files call a family's weights besides our name for them: without the prefix of the base model ("bert."), with parts of
/// the name spelled otherwise ("LayerNorm.gamma" for "LayerNorm.weight"), or both.
struct WeightNaming {
  std::string prefix;
  std::vector<std::pair<std::string, std::string>> spellings;  // ours, theirs; of a name all that occur in it, or none
};

/// The name that `source` has the weight `name` under; nothing if it lacks the weight.
std::optional<std::string> stored_name(const TensorSource& source, const WeightNaming& naming, const std::string& name);

/// Loads in `dtype`, without gradients. Throws Error for a missing tensor or a wrong shape, naming it and the file. Refers to
/// `source`.
WeightVisitor weight_loader(const TensorSource& source, WeightNaming naming, at::ScalarType dtype);

/// New weights in `dtype`: biases 0, a norm's factors (vectors) 1, all else N(0, deviation²) from `seed`, in the list's order.
WeightVisitor weight_maker(std::uint64_t seed, double deviation, at::ScalarType dtype);

/// Appends name and address to `result`, which it refers to.
WeightVisitor weight_collector(std::vector<std::pair<std::string, at::Tensor*>>& result);

}  // namespace hedgehog
