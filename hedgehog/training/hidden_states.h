// How far a model's hidden states are from its teacher's, layer by layer.
#pragma once

#include "hedgehog/models/layer_visitor.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace hedgehog {

/// What each layer's attention reads in one pass, [batch, length, hidden].
struct HiddenStates {
  std::vector<at::Tensor> layers;
  /// For the pass; must not outlive this.
  LayerVisitor visitor() {
    return [this](std::int64_t, const AttentionInput& input) { layers.push_back(input.x); };
  }
};

/// Mean over the layers of |x − x'|² / |x'|², a differentiable scalar; rows of padding (`key_count` as in AttentionInput, may
/// be undefined) left out. The first layer is left out, too: it reads the embeddings, which no attention has changed.
at::Tensor hidden_error(const HiddenStates& model, const HiddenStates& teacher, const at::Tensor& key_count = {});

}  // namespace hedgehog
