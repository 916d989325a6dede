// The opponents inside LibTorch, as a user would write them with its operators: softmax, a chunked linear attention, the
// distillation step with N×N matrices.
#pragma once

#include "hedgehog/attention/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hedgehog {

/// LibTorch's scaled_dot_product_attention, over all keys or the causal ones.
at::Tensor softmax_attention(const AttentionInput& input, bool causal);

/// One row q [batch, heads, 1, dim] against a cache of keys and values [batch, kv_heads, length, dim], in three ways that give
/// the same: SDPA that knows of grouped queries, SDPA with a group's queries as rows of one head, two products.
at::Tensor cached_softmax_by_groups(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values);
at::Tensor cached_softmax_by_rows(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values);
at::Tensor cached_softmax_by_products(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values);

/// Weights [heads, dim, dim] and [kv_heads, dim, dim] of the map hedgehog-softmax without a bias, in the inputs' dtype.
struct ComposedMaps {
  at::Tensor q, k;
};

/// Causal linear attention in chunks; the length is a multiple of `chunk`.
at::Tensor composed_attention(const AttentionInput& input, const ComposedMaps& maps, std::int64_t chunk);
/// φ(q) (φ(k)ᵀ v), over all keys.
at::Tensor composed_bidirectional(const AttentionInput& input, const ComposedMaps& maps);

/// Attention::distill by autograd and matrices [batch, heads, length, length], causal, fp32: weights' cross-entropy + output
/// error. The gradients are added to those of the maps. Returns the loss.
double eager_distillation(const AttentionInput& input, const ComposedMaps& maps);

}  // namespace hedgehog
