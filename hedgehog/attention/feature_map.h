// Feature maps φ of linear attention (arXiv 2402.04347, section 4.2): u = W x + b, then an activation. One table, one
// interface: a new map is one row of the table in feature_map.cc.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace hedgehog {

struct Features {
  at::Tensor phi;        // fp32 [batch, heads, length, F], F = 2·M
  at::Tensor log_scale;  // fp32 [batch, heads, length]: the true features are exp(log_scale) · phi; undefined: 0. No gradient
};

/// The maps' names: "hedgehog-softmax", "hedgehog-exp", "hedgehog-joint".
std::vector<std::string> feature_map_names();

/// Throws Error that lists the known ones if `name` is not one of them.
void check_feature_map(const std::string& name);

/// What the map does with u. Throws as check_feature_map does.
kernels::Activation activation_of(const std::string& name);

/// Features of x [batch, heads, length, D] with weight [heads, M, D] and bias [heads, M]. Differentiable in x, weight, bias.
Features feature_map(const std::string& name, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// max |W k + b| of every key, fp32 [batch, heads, length]: the exp map's log scales, without its features. No gradient.
at::Tensor key_log_scales(const at::Tensor& k, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace hedgehog
