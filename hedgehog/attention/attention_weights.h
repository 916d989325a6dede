// Attention's weights as a matrix: for analysis of chosen rows, and the plain form that tests hold the operator against.
#pragma once

#include "hedgehog/attention/attention.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace hedgehog {

struct AttentionWeights {
  at::Tensor weights;       // [batch, heads, rows, length]: the rows' weights over all keys, each summing to 1
  at::Tensor linear_share;  // [batch, heads, rows]: the part of the sum that linear keys carry
  at::Tensor log_sum;       // [batch, heads, rows]: log |what they were divided by|
};

/// Which keys the rows see, as exact or linear ones: bool [batch, 1, rows, length], batch 1 where all are alike. `rows`: int64.
at::Tensor visible_keys(const OperatorInput& input, const at::Tensor& rows);

/// Rows `rows` of the operator's weights, by its definition, in `dtype` from start to end; differentiable. Takes no map.
AttentionWeights operator_weights(const OperatorInput& input, const std::vector<std::int64_t>& rows,
                                  at::ScalarType dtype = at::kDouble);

/// The same of a layer's attention, fp64. Softmax weights when its kind is softmax, and of the heads that keep it.
AttentionWeights attention_weights(const Attention& attention, const AttentionInput& input,
                                   const std::vector<std::int64_t>& rows);

}  // namespace hedgehog
