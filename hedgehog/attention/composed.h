// The operators of attention_operator.h composed of LibTorch's own: what kernels are measured against in a whole conversion,
// and a second implementation to hold them to. Chosen by the environment variable HEDGEHOG_ATTENTION.
#pragma once

#include "hedgehog/attention/attention_operator.h"

#include <ATen/core/Tensor.h>

namespace hedgehog {

/// HEDGEHOG_ATTENTION, read once: "composed" is true; "kernels", "" or nothing false. Throws Error for anything else.
bool composed_form_is_chosen();

/// attention_operator(), in chunks of kComposedChunk rows; differentiable by autograd, which keeps what it needs of every step.
/// Products are in q's dtype, sums and normalisers in fp32. N×N memory for softmax over all keys with packed documents, and for
/// packed documents in the bidirectional form.
at::Tensor composed_attention(const OperatorInput& input);

/// distillation_operator(), from whole rows of weights in fp32, kComposedRows at a time, and autograd.
DistillationOutput composed_distillation(const OperatorInput& input, const QueryRows& rows, std::int64_t teacher_window,
                                         double gradient_scale, bool wants_teacher);

}  // namespace hedgehog
