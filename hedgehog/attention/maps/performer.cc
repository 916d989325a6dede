#include "hedgehog/attention/maps/map.h"
#include "hedgehog/base/random.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace hedgehog::maps {
namespace {

// Standard normal numbers [rows, columns] in fp64, by Box and Muller.
at::Tensor normal(Random& random, std::int64_t rows, std::int64_t columns) {
  auto x = at::empty({rows, columns}, at::kDouble);
  auto* numbers = x.mutable_data_ptr<double>();
  for (std::int64_t n = 0; n < rows * columns; ++n) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    numbers[n] = radius * std::cos(2 * std::numbers::pi * random.uniform());
  }
  return x;
}

}  // namespace

// φ(x) = exp(w·x' − |x'|²/2) / √M for x' = x / D^¼: E[φ(q)·φ(k)] = exp(q·k/√D). W holds 1 / D^¼ already.
Features positive_random(const MapRows& rows) {
  const double dim = static_cast<double>(rows.x.size(-1)), width = static_cast<double>(rows.u.size(-1));
  const auto logs = rows.u - rows.x.square().sum(-1, true) / (2 * std::sqrt(dim));
  const auto top = logs.detach().amax(-1);
  return {at::exp(logs - top.unsqueeze(-1)) / std::sqrt(width), top};
}

// Blocks of D orthogonal rows whose lengths are those of normal vectors; the same for every head, so that the heads of a group
// share their keys' features.
at::Tensor orthogonal_rows(std::int64_t heads, std::int64_t rows, std::int64_t dim) {
  Random random{static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(dim)};
  std::vector<at::Tensor> blocks;
  for (std::int64_t row = 0; row < rows; row += dim) {
    const auto [q, r] = at::linalg_qr(normal(random, dim, dim));
    const auto directions = q * r.diagonal().sign();  // without the signs, directions would not be uniform
    const auto lengths = normal(random, dim, dim).norm(2, {1}, /*keepdim=*/true);
    blocks.push_back((directions * lengths).narrow(0, 0, std::min(dim, rows - row)));
  }
  const auto weight = at::cat(blocks) / std::pow(static_cast<double>(dim), 0.25);
  return weight.to(at::kFloat).unsqueeze(0).repeat({heads, 1, 1});
}

}  // namespace hedgehog::maps
