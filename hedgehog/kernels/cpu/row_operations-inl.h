// Passes over one row of weights: maxima, exponentials, the gate's decay, loss and gradient terms. Included once per
// instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_ROW_OPERATIONS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_ROW_OPERATIONS_INL_H_
#undef HEDGEHOG_KERNELS_CPU_ROW_OPERATIONS_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_ROW_OPERATIONS_INL_H_
#endif

#include "hedgehog/kernels/cpu/element-inl.h"

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

// e^x within 4 ulp for x ≤ 88, 0 below −86.5: what weights and features need, in two thirds of hn::Exp's time.
HWY_INLINE FloatVector exponential(FloatVector x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> integers;
  // x = n·ln 2 + r; adding 1.5·2^23 leaves n rounded in the low bits.
  const auto shifter = hn::Set(d, 12582912.0f);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), shifter);
  const auto n = hn::Sub(shifted, shifter);
  const auto r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
  auto y = hn::MulAdd(r, hn::Set(d, 1.3981999507e-3f), hn::Set(d, 8.3334519073e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 4.1665795894e-2f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.6666665459e-1f));
  y = hn::MulAdd(y, r, hn::Set(d, 5.0000001201e-1f));
  y = hn::MulAdd(hn::Mul(r, r), y, hn::Add(r, hn::Set(d, 1.0f)));
  // Times 2^n by adding n to the exponent.
  const auto scaled = hn::BitCast(d, hn::Add(hn::BitCast(integers, y), hn::ShiftLeft<23>(hn::BitCast(integers, shifted))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -86.5f)), scaled);
}

// body(vector, valid) over [0, n); the last vector may be partial, `valid` is its mask.
template <class Body>
HWY_INLINE void over_row(std::int64_t n, Body&& body) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = 0;
  for (; j + lanes <= n; j += lanes) body(j, hn::FirstN(d, static_cast<std::size_t>(lanes)), true);
  if (j < n) body(j, hn::FirstN(d, static_cast<std::size_t>(n - j)), false);
}

// Zeros behind the row's end.
HWY_INLINE FloatVector load_row(const float* from, hn::Mask<FloatTag> valid, bool whole) {
  const FloatTag d;
  return whole ? hn::LoadU(d, from) : hn::MaskedLoad(valid, d, from);
}

HWY_INLINE FloatVector load_row(const std::uint16_t* from, hn::Mask<FloatTag> valid, bool whole) {
  const FloatTag d;
  if (whole) return load(d, from);
  const hn::Rebind<std::uint16_t, FloatTag> halves;
  const hn::RebindToUnsigned<FloatTag> bits;
  const auto x = hn::MaskedLoad(hn::FirstN(halves, hn::CountTrue(d, valid)), halves, from);
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, x)));
}

HWY_INLINE void store_row(FloatVector value, float* to, hn::Mask<FloatTag> valid, bool whole) {
  const FloatTag d;
  if (whole) {
    hn::StoreU(value, d, to);
  } else {
    hn::BlendedStore(value, valid, d, to);
  }
}

// For sums: nothing behind the row's end.
HWY_INLINE FloatVector valid_or_zero(FloatVector value, hn::Mask<FloatTag> valid, bool whole) {
  return whole ? value : hn::IfThenElseZero(valid, value);
}

HWY_INLINE float sum_lanes(FloatVector value) {
  return hn::GetLane(hn::SumOfLanes(FloatTag(), value));
}

HWY_INLINE void fill_row(float value, std::int64_t n, float* to) {
  for (std::int64_t j = 0; j < n; ++j) to[j] = value;
}

HWY_INLINE float row_maximum(const float* x, std::int64_t n, float least) {
  const FloatTag d;
  FloatVector most = hn::Set(d, least);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto value = hn::IfThenElse(valid, load_row(x + j, valid, whole), hn::Set(d, least));
    most = hn::Max(most, value);
  });
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

// max |x|
HWY_INLINE float row_size(const float* x, std::int64_t n) {
  const FloatTag d;
  FloatVector most = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) { most = hn::Max(most, hn::Abs(load_row(x + j, valid, whole))); });
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

// to = exp(scale · x − shift); returns the sum.
HWY_INLINE float exponentials(const float* x, std::int64_t n, float scale, float shift, float* to) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto value = exponential(hn::MulSub(hn::Set(d, scale), load_row(x + j, valid, whole), hn::Set(d, shift)));
    sum = hn::Add(sum, valid_or_zero(value, valid, whole));
    store_row(value, to + j, valid, whole);
  });
  return sum_lanes(sum);
}

HWY_INLINE float row_sum(const float* x, std::int64_t n) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) { sum = hn::Add(sum, load_row(x + j, valid, whole)); });
  return sum_lanes(sum);
}

// exp(a_i − a_j) for the keys of a row, or one when there is no gate.
HWY_INLINE FloatVector decay(const float* key_decay, float row_decay, std::int64_t j, hn::Mask<FloatTag> valid, bool whole) {
  const FloatTag d;
  if (key_decay == nullptr) return hn::Set(d, 1.0f);
  return exponential(hn::Min(hn::Zero(d), hn::Sub(hn::Set(d, row_decay), load_row(key_decay + j, valid, whole))));
}

// to = factor · exp(a_i − a_j) · x; returns the sum.
HWY_INLINE float linear_weights(const float* x, std::int64_t n, const float* key_decay, float row_decay, float factor,
                                float* to) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto value =
        hn::Mul(hn::Mul(hn::Set(d, factor), decay(key_decay, row_decay, j, valid, whole)), load_row(x + j, valid, whole));
    sum = hn::Add(sum, valid_or_zero(value, valid, whole));
    store_row(value, to + j, valid, whole);
  });
  return sum_lanes(sum);
}

// Gradient of exact keys' scores: to = factor · p · (dp − row_dot).
HWY_INLINE void score_gradients(const float* p, const float* dp, std::int64_t n, float row_dot, float factor, float* to) {
  const FloatTag d;
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto centred = hn::Sub(load_row(dp + j, valid, whole), hn::Set(d, row_dot));
    store_row(hn::Mul(hn::Set(d, factor), hn::Mul(load_row(p + j, valid, whole), centred)), to + j, valid, whole);
  });
}

// Gradient of φ(q)·φ(k): to = factor · exp(a_i − a_j) · (dp − row_dot).
HWY_INLINE void feature_gradients(const float* dp, std::int64_t n, const float* key_decay, float row_decay, float row_dot,
                                  float factor, float* to) {
  const FloatTag d;
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto centred = hn::Sub(load_row(dp + j, valid, whole), hn::Set(d, row_dot));
    const auto weight = hn::Mul(hn::Set(d, factor), decay(key_decay, row_decay, j, valid, whole));
    store_row(hn::Mul(weight, centred), to + j, valid, whole);
  });
}

// x += shift
HWY_INLINE void shift_row(float* x, std::int64_t n, float shift) {
  const FloatTag d;
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    store_row(hn::Add(load_row(x + j, valid, whole), hn::Set(d, shift)), x + j, valid, whole);
  });
}

// A row of linear weights with a smaller sum sees nothing: its features hardly meet those of any key, and what gradients make
// of an inverse beyond this one leaves the range of fp32.
constexpr float kLeastSum = 1e-34f;

// 1/sum, and 0 where there is nothing to divide by. Features that may be negative give sums below 0.
HWY_INLINE float inverse_or_zero(float sum) {
  return std::abs(sum) >= kLeastSum ? 1 / sum : 0;
}

inline float dot(const float* x, const float* y, std::int64_t n) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    const auto product = hn::Mul(load_row(x + j, valid, whole), load_row(y + j, valid, whole));
    sum = hn::Add(sum, valid_or_zero(product, valid, whole));
  });
  return sum_lanes(sum);
}

// to = factor · x (+ to)
HWY_INLINE void scale_row(const float* x, std::int64_t n, float factor, bool add, float* to) {
  const FloatTag d;
  over_row(n, [&](std::int64_t j, auto valid, bool whole) {
    auto value = hn::Mul(hn::Set(d, factor), load_row(x + j, valid, whole));
    if (add) value = hn::Add(value, load_row(to + j, valid, whole));
    store_row(value, to + j, valid, whole);
  });
}

// bias [n] (may be null) is added to each of the rows x.
HWY_INLINE void add_bias(const float* bias, std::int64_t rows, std::int64_t n, float* x, std::int64_t x_row) {
  for (std::int64_t r = 0; bias != nullptr && r < rows; ++r) scale_row(bias, n, 1, true, x + r * x_row);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
