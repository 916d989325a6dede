#include "hedgehog/attention/maps/map.h"

#include <ATen/ATen.h>

#include <cmath>

namespace hedgehog::maps {

// [1, x', x'_a x'_b for a < b, x'_a²/√2] for x' = x / D^¼: x'x'ᵀ is symmetric, so half of it says all, F = 1 + D + D(D + 1)/2.
Features second_order(const MapRows& rows) {
  const std::int64_t dim = rows.u.size(-1);
  const auto x = rows.u / std::pow(static_cast<double>(dim), 0.25);
  const auto pairs = at::triu_indices(dim, dim, 1, at::TensorOptions().dtype(at::kLong).device(x.device()));
  const auto products = x.index_select(-1, pairs[0]) * x.index_select(-1, pairs[1]);
  return {at::cat({at::ones_like(x.narrow(-1, 0, 1)), x, products, x.square() / std::sqrt(2.0)}, -1), {}};
}

at::Tensor second_order_of_score(const at::Tensor& scores) {
  return 1 + scores + scores.square() / 2;
}

}  // namespace hedgehog::maps
