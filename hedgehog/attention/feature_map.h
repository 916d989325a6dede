// Feature maps φ of linear attention (arXiv 2402.04347, section 4.2): u = W x + b, then an activation. One table, one
// interface: a new map is one file in maps/ and one row of the table in feature_map.cc.
#pragma once

#include "hedgehog/attention/maps/map.h"
#include "hedgehog/kernels/attention.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace hedgehog {

/// A map by its name: "hedgehog-softmax", "performer", "exp-2".
struct FeatureMap {
  const maps::Map* map = nullptr;  // of the table
  double number = 0;               // what the name ends in, or the map's own: t of exp, L of cosformer

  bool learns() const { return map->weights == maps::Weights::kLearned; }
};

/// The maps' names; of those that take a number, with their own.
std::vector<std::string> feature_map_names();

/// Throws Error that lists the known ones if `name` is not one of them.
FeatureMap feature_map_named(const std::string& name);

/// The map's weight [heads, rows, dim] as it is before any training, and its bias [heads, rows]; undefined for one without. For
/// learned ones the identity, then, for more rows than D, rotations of it. Throws Error for rows ≠ dim of a map without
/// weights.
struct MapWeights {
  at::Tensor weight, bias;
};
MapWeights initial_weights(const FeatureMap& map, std::int64_t heads, std::int64_t rows, std::int64_t dim);

/// Features of x [batch, heads, length, D] with weight [heads, M, D] and bias [heads, M], if the map has them. Positions: a
/// row's place in its document, [batch or 1, length], for the maps that need it. Differentiable in x, weight, bias.
Features features_of(const FeatureMap& map, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     const at::Tensor& positions = {});

/// max |W k + b| of every key, fp32 [batch, heads, length]: log scales of hedgehog-exp, without its features. No gradient.
at::Tensor key_log_scales(const at::Tensor& k, const at::Tensor& weight, const at::Tensor& bias);

}  // namespace hedgehog
