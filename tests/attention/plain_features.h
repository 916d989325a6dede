// Feature maps by their formulas, in the dtype that they are given.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace hedgehog::testing {

/// Exp and scores of exp form as they are, nothing subtracted.
inline at::Tensor plain_features(const std::string& name, const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias) {
  const auto u = weight.defined() ? at::matmul(x, weight.transpose(-1, -2)) + bias.unsqueeze(-2) : x;
  if (name == "hedgehog-softmax") return at::cat({u.softmax(-1), (-u).softmax(-1)}, -1);
  if (name == "hedgehog-joint") return at::cat({2 * u, -2 * u}, -1).softmax(-1);
  if (name == "hedgehog-exp") return at::cat({u.exp(), (-u).exp()}, -1);
  if (name == "t2r" || name == "relu") return u.clamp_min(0);
  if (name.starts_with("pair-")) {
    const auto pair = at::cat({u, -u}, -1);
    if (name == "pair-relu") return pair.clamp_min(0);
    if (name == "pair-relu2") return pair.clamp_min(0).square();
    if (name == "pair-gelu") return pair * (1 + at::erf(pair / std::sqrt(2.0))) / 2;
    if (name == "pair-silu") return pair / (1 + (-pair).exp());
    if (name == "pair-softplus") return (1 + pair.exp()).log();
    if (name == "pair-sigmoid") return 1 / (1 + (-pair).exp());
    if (name == "pair-elu") return at::where(pair.gt(0), pair + 1, pair.clamp_max(0).exp());
  }
  if (name == "cosh") return (u.exp() + (-u).exp()) / 2;
  if (name == "elu") return at::where(u.gt(0), u + 1, u.clamp_max(0).exp());
  if (name == "identity") return u;
  if (name == "exp-1") return u.exp();
  if (name == "performer") {
    const double dim = static_cast<double>(x.size(-1)), width = static_cast<double>(u.size(-1));
    return (u - x.square().sum(-1, true) / (2 * std::sqrt(dim))).exp() / std::sqrt(width);
  }
  if (name == "cosformer-1024") {
    const auto angle = at::arange(x.size(2), x.options().requires_grad(false)).unsqueeze(-1) * (M_PI / 2048);
    return at::cat({u.clamp_min(0) * angle.cos(), u.clamp_min(0) * angle.sin()}, -1);
  }
  if (name == "taylor") {
    const auto scaled = u / std::pow(static_cast<double>(u.size(-1)), 0.25);
    std::vector<at::Tensor> columns{at::ones_like(u.select(-1, 0))};
    for (const auto& column : scaled.unbind(-1)) columns.push_back(column);
    std::vector<at::Tensor> squares;
    for (std::int64_t i = 0; i < u.size(-1); ++i) {
      for (std::int64_t j = i + 1; j < u.size(-1); ++j) columns.push_back(scaled.select(-1, i) * scaled.select(-1, j));
      squares.push_back(scaled.select(-1, i).square() / std::sqrt(2.0));
    }
    columns.insert(columns.end(), squares.begin(), squares.end());
    return at::stack(columns, -1);
  }
  ADD_FAILURE() << "no formula for " << name;
  return {};
}

}  // namespace hedgehog::testing
