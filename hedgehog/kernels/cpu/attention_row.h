// Decoding: the forward pass of one query row, which reads every key, value and number of the state once and transposes
// nothing.
#pragma once

#include "hedgehog/kernels/attention.h"

namespace hedgehog::kernels {

/// The case query_rows() = 1 of a causal attention_forward without a map, one document.
void attention_row(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                   float* state_out, std::int64_t absorb_end, const ParallelFor& parallel_for);

}  // namespace hedgehog::kernels
