// Decoding: the forward pass of one query row, which reads every key, value and number of the state once and transposes
// nothing. The features of all heads come first, then each key/value head's keys and state.
#pragma once

#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/linear_state.h"

namespace hedgehog::kernels {

/// The case query_rows() = 1 of a causal attention_forward, one document.
void attention_row(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                   const LinearState& state_out, std::int64_t absorb_end, const ParallelFor& parallel_for);

/// What attention_row hands to the code of the machine's instruction set.
struct RowCall {
  const AttentionArguments& arguments;
  const MutableRows& out;
  float *row_max, *inverse_sum;
  LinearState state_out;
  std::int64_t absorb_end;
  const RoundingBits& rounding;
  // Given, or made by the map: of key rows [first_key, first_key + keys).
  Strided<const float> phi_q, phi_k;
  std::int64_t first_key, keys;
};

}  // namespace hedgehog::kernels
