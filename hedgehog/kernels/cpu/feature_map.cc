// See kernels/feature_map.h.
#include "hedgehog/kernels/feature_map.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/feature_map.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/row_operations-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// to = exp(sign · u − shift); returns the sum.
HWY_INLINE float signed_exponentials(const float* u, std::int64_t n, float sign, float shift, float* to) {
  const FloatTag d;
  auto sum = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto value = hn::Exp(d, hn::MulSub(hn::Set(d, sign), load_row(u + j, valid, whole), hn::Set(d, shift)));
    sum = hn::Add(sum, hn::IfThenElseZero(valid, value));
    store_row(value, to + j, valid, whole);
  });
  return sum_lanes(sum);
}

void activate_rows(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width, const float* u_rows,
                   float* phi_rows, float* log_scale) {
  const FloatTag d;
  for (std::int64_t i = begin; i < end; ++i) {
    const float* u = u_rows + i * width;
    float* phi = phi_rows + i * 2 * width;
    auto high = hn::Set(d, -3.0e38f), low = hn::Set(d, 3.0e38f);
    over_row(width, [&](std::int64_t j, auto valid, bool whole) {
      const auto value = load_row(u + j, valid, whole);
      high = hn::Max(high, hn::IfThenElse(valid, value, high));
      low = hn::Min(low, hn::IfThenElse(valid, value, low));
    });
    const float maximum = hn::GetLane(hn::MaxOfLanes(d, high)), minus_minimum = -hn::GetLane(hn::MinOfLanes(d, low));
    const float both = maximum > minus_minimum ? maximum : minus_minimum;
    if (activation == Activation::kSplitSoftmax) {
      const float positive = signed_exponentials(u, width, 1, maximum, phi);
      const float negative = signed_exponentials(u, width, -1, minus_minimum, phi + width);
      scale_row(phi, width, 1 / positive, false, phi);
      scale_row(phi + width, width, 1 / negative, false, phi + width);
    } else if (activation == Activation::kJointSoftmax) {
      float sum = signed_exponentials(u, width, 2, 2 * both, phi);
      sum += signed_exponentials(u, width, -2, 2 * both, phi + width);
      scale_row(phi, 2 * width, 1 / sum, false, phi);
    } else {
      signed_exponentials(u, width, 1, both, phi);
      signed_exponentials(u, width, -1, both, phi + width);
      log_scale[i] = both;
    }
  }
}

// to = factor · (p+ (g+ − mean+) − p− (g− − mean−))
HWY_INLINE void both_signs(const float* phi, const float* gradient, std::int64_t n, float mean_positive, float mean_negative,
                           float factor, float* to) {
  const FloatTag d;
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto positive =
        hn::Mul(load_row(phi + j, valid, whole), hn::Sub(load_row(gradient + j, valid, whole), hn::Set(d, mean_positive)));
    const auto negative = hn::Mul(load_row(phi + n + j, valid, whole),
                                  hn::Sub(load_row(gradient + n + j, valid, whole), hn::Set(d, mean_negative)));
    store_row(hn::Mul(hn::Set(d, factor), hn::Sub(positive, negative)), to + j, valid, whole);
  });
}

void activate_backward_rows(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width,
                            const float* phi_rows, const float* gradient_rows, float* u_gradient) {
  for (std::int64_t i = begin; i < end; ++i) {
    const float *phi = phi_rows + i * 2 * width, *gradient = gradient_rows + i * 2 * width;
    float positive = 0, negative = 0;
    if (activation != Activation::kExp) {
      positive = dot(phi, gradient, width);
      negative = dot(phi + width, gradient + width, width);
    }
    if (activation == Activation::kJointSoftmax) positive = negative = positive + negative;
    both_signs(phi, gradient, width, positive, negative, activation == Activation::kJointSoftmax ? 2 : 1,
               u_gradient + i * width);
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
    HWY_DYNAMIC_DISPATCH(activate_rows)(activation, begin, end, width, u, phi, log_scale);
  });
}

void activate_backward(Activation activation, std::int64_t rows, std::int64_t width, const float* phi,
                       const float* phi_gradient, float* u_gradient, const ParallelFor& parallel_for) {
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(activate_backward_rows)(activation, begin, end, width, phi, phi_gradient, u_gradient);
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
