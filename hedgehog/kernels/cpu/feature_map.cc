// See kernels/feature_map.h.
#include "hedgehog/kernels/feature_map.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/feature_map.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

void activate_rows(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width, const float* u_rows,
                   float* phi_rows, float* log_scale) {
  for (std::int64_t i = begin; i < end; ++i) {
    const float scale = activate_row(activation, width, u_rows + i * width, phi_rows + i * 2 * width);
    if (log_scale != nullptr) log_scale[i] = scale;
  }
}

void activate_backward_rows(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width,
                            const float* phi_rows, const float* gradient_rows, float* u_gradient) {
  for (std::int64_t i = begin; i < end; ++i) {
    activate_row_backward(activation, width, phi_rows + i * 2 * width, gradient_rows + i * 2 * width, u_gradient + i * width);
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hedgehog::kernels {

HWY_EXPORT(activate_rows);
HWY_EXPORT(activate_backward_rows);

void activate(Activation activation, std::int64_t rows, std::int64_t width, const float* u, float* phi, float* log_scale,
              const ParallelFor& parallel_for) {
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    HEDGEHOG_DISPATCH(activate_rows)(activation, begin, end, width, u, phi, log_scale);
  });
}

void activate_backward(Activation activation, std::int64_t rows, std::int64_t width, const float* phi,
                       const float* phi_gradient, float* u_gradient, const ParallelFor& parallel_for) {
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    HEDGEHOG_DISPATCH(activate_backward_rows)(activation, begin, end, width, phi, phi_gradient, u_gradient);
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
