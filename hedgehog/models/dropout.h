// Dropout (arXiv 1207.0580) as a function of a seed: the same masks for the same seed and order of calls.
#pragma once

#include "hedgehog/base/random.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace hedgehog {

/// One pass through a model. Without a seed nothing is dropped.
class Dropout {
 public:
  /// Streams of one seed are independent of each other.
  explicit Dropout(std::optional<std::uint64_t> seed = std::nullopt, std::uint64_t stream = 0);

  /// x with each number zeroed with `probability` in [0, 1), the others divided by 1 − probability.
  at::Tensor operator()(const at::Tensor& x, double probability);

 private:
  std::optional<Random> random_;
};

}  // namespace hedgehog
