// Keys of exp-form maps share one scale that grows with the running maximum, as in online softmax: exp(m_j) φ_j = exp(r_i) ·
// exp(m_j − r_i) φ_j. Seen from the state, a growing r is a decay gate, log γ_i = r_{i−1} − r_i, so one mechanism serves both.
#pragma once

#include <ATen/core/Tensor.h>

namespace hedgehog {

struct RunningMaximum {
  at::Tensor maximum;   // r [batch, kv_heads, length]
  at::Tensor log_gate;  // r_{i−1} − r_i ≤ 0; 0 where a document starts
};

/// log_scale: fp32 [batch, kv_heads, length]; segment_start: int32 [batch, length] or undefined; initial: r_{−1}
/// [batch, kv_heads] of the sequence that is continued, or undefined. No gradient: r cancels in the result.
RunningMaximum running_maximum(const at::Tensor& log_scale, const at::Tensor& segment_start, const at::Tensor& initial);

/// The largest log scale of the document that a row belongs to [batch, kv_heads, length]: the same for a form that sees all of
/// its document. Arguments as above. key_count: int32 [batch] or undefined; keys from this one on are padding, take no part in
/// the maximum, and get their own log scale instead, so that their features stay finite. No gradient.
at::Tensor document_maximum(const at::Tensor& log_scale, const at::Tensor& segment_start, const at::Tensor& key_count);

}  // namespace hedgehog
