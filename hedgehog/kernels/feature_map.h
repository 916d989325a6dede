// Activations of the Hedgehog feature maps on plain pointers: u [rows, M] to φ [rows, 2M], and the way back.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <cstdint>

namespace hedgehog::kernels {

/// phi [rows, 2·width] of u [rows, width], both contiguous. log_scale [rows]: written by kExp only, may be null otherwise.
void activate(Activation activation, std::int64_t rows, std::int64_t width, const float* u, float* phi, float* log_scale,
              const ParallelFor& parallel_for);

/// du [rows, width] from phi and its gradient [rows, 2·width]; kExp's m is held fixed: it cancels in every use of the map.
void activate_backward(Activation activation, std::int64_t rows, std::int64_t width, const float* phi,
                       const float* phi_gradient, float* u_gradient, const ParallelFor& parallel_for);

/// max |W k + b| of every key, [B, G, length] contiguous: kExp's log scales. k [B, G, length, D], weight [G, M, D], bias [G, M]
/// or null.
void key_log_scales(const AttentionShape& shape, const Rows& k, std::int64_t width, const float* weight, const float* bias,
                    float* log_scales, const ParallelFor& parallel_for);

}  // namespace hedgehog::kernels
