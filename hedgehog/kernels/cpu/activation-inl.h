// The maps' activations on one row of u, and on a tile that holds a row of keys in each column. Included once per instruction
// set.
#if defined(HEDGEHOG_KERNELS_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_ACTIVATION_INL_H_
#undef HEDGEHOG_KERNELS_CPU_ACTIVATION_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_ACTIVATION_INL_H_
#endif

#include "hedgehog/kernels/cpu/element-inl.h"
#include "hedgehog/kernels/cpu/math-inl.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"
#include "hedgehog/kernels/feature_map.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// Rows whose maxima, exponentials and scaling are each done for all of them before the next: one row's sums would keep the
// processor waiting.
constexpr std::int64_t kRowsTogether = 16;

// phi [rows, 2·width] of at most kRowsTogether rows of u [rows, width]. scratch [rows, 2·width], its rows scratch_row apart,
// may be phi where that is fp32.
template <class Math>
inline void activate_rows_together(Activation activation, std::int64_t rows, std::int64_t width, const float* u,
                                   std::int64_t u_row, float* scratch, std::int64_t scratch_row, typename Math::Number* phi,
                                   std::int64_t phi_row, float* log_scales) {
  const FloatTag d;
  const bool joint = activation == Activation::kJointSoftmax;
  const float sign = joint ? 2 : 1;
  float positive[kRowsTogether], negative[kRowsTogether];
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* row = u + r * u_row;
    auto high = hn::Set(d, -3.0e38f), low = hn::Set(d, 3.0e38f);
    over_row(width, [&](std::int64_t j, auto valid, bool whole) {
      const auto value = load_row(row + j, valid, whole);
      high = hn::Max(high, whole ? value : hn::IfThenElse(valid, value, high));
      low = hn::Min(low, whole ? value : hn::IfThenElse(valid, value, low));
    });
    positive[r] = hn::GetLane(hn::MaxOfLanes(d, high));
    negative[r] = -hn::GetLane(hn::MinOfLanes(d, low));
    const float both = positive[r] > negative[r] ? positive[r] : negative[r];
    if (activation != Activation::kSplitSoftmax) positive[r] = negative[r] = sign * both;
    if (log_scales != nullptr) log_scales[r] = activation == Activation::kExp ? both : 0;
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    float* to = scratch + r * scratch_row;
    positive[r] = exponentials(u + r * u_row, width, sign, positive[r], to);
    negative[r] = exponentials(u + r * u_row, width, -sign, negative[r], to + width);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    if (activation == Activation::kExp) positive[r] = negative[r] = 1;
    if (joint) positive[r] = negative[r] = positive[r] + negative[r];
    const float* from = scratch + r * scratch_row;
    typename Math::Number* to = phi + r * phi_row;
    const auto scale = [&](std::int64_t begin, float factor) {
      over_row(width, [&](std::int64_t j, auto valid, bool whole) {
        Math::store(hn::Mul(hn::Set(d, factor), load_row(from + begin + j, valid, whole)), to + begin + j, width - j);
      });
    };
    scale(0, 1 / positive[r]);
    scale(width, 1 / negative[r]);
  }
}

// phi [rows, 2·width] of u [rows, width], whose rows are phi_row and u_row apart. log_scales [rows] (may be null): kExp's, 0
// for the others. scratch [kRowsTogether, 2·width] is not used where phi is fp32.
template <class Math>
inline void activate_rows(Activation activation, std::int64_t rows, std::int64_t width, const float* u, std::int64_t u_row,
                          float* scratch, typename Math::Number* phi, std::int64_t phi_row, float* log_scales) {
  for (std::int64_t first = 0; first < rows; first += kRowsTogether, phi += kRowsTogether * phi_row) {
    std::int64_t scratch_row = 2 * width;
    if constexpr (Math::kPair == 1) {
      scratch = phi;
      scratch_row = phi_row;
    }
    activate_rows_together<Math>(activation, least(kRowsTogether, rows - first), width, u + first * u_row, u_row, scratch,
                                 scratch_row, phi, phi_row, log_scales == nullptr ? nullptr : log_scales + first);
  }
}

// du [width] of one row from φ and its gradient [2·width]; kExp's log scale is held fixed. With `z` [2·width] the gradient is
// gradient + last · z. Returns φ·gradient. bias_gradient (may be null) += du.
template <class Math>
inline float activate_row_backward(Activation activation, std::int64_t width, const typename Math::Number* phi,
                                   const float* gradient, const float* z, float last, typename Math::Number* u_gradient,
                                   float* bias_gradient) {
  const FloatTag d;
  const auto gradient_at = [&](std::int64_t j, auto valid, bool whole) {
    const auto value = load_row(gradient + j, valid, whole);
    return z == nullptr ? value : hn::MulAdd(hn::Set(d, last), load_row(z + j, valid, whole), value);
  };
  const auto half = [&](std::int64_t begin) {
    auto sum = hn::Zero(d);
    over_row(width, [&](std::int64_t j, auto valid, bool whole) {
      const auto value = hn::IfThenElseZero(valid, gradient_at(begin + j, valid, whole));
      sum = hn::MulAdd(load_row(phi + begin + j, valid, whole), value, sum);
    });
    return sum_lanes(sum);
  };
  float positive = half(0), negative = half(width);
  const float total = positive + negative;
  if (activation == Activation::kJointSoftmax) positive = negative = total;
  if (activation == Activation::kExp) positive = negative = 0;
  const auto factor = hn::Set(d, activation == Activation::kJointSoftmax ? 2.0f : 1.0f);
  over_row(width, [&](std::int64_t j, auto valid, bool whole) {
    const auto up = hn::Sub(gradient_at(j, valid, whole), hn::Set(d, positive));
    const auto down = hn::Sub(gradient_at(width + j, valid, whole), hn::Set(d, negative));
    const auto value = hn::Mul(
        factor, hn::Sub(hn::Mul(load_row(phi + j, valid, whole), up), hn::Mul(load_row(phi + width + j, valid, whole), down)));
    Math::store(value, u_gradient + j, width - j);
    if (bias_gradient != nullptr) {
      store_row(hn::Add(value, load_row(bias_gradient + j, valid, whole)), bias_gradient + j, valid, whole);
    }
  });
  return total;
}

// activate_rows for `columns` keys at once (a multiple of the vector's lanes): row m of u [width, columns] holds number m of
// every key, so that maxima and sums run down the columns. u lies in the lower half of phi [2·width, columns], row width + m,
// without the bias; both halves are written. reference [columns], kExp's alone: what is taken out in place of the maximum.
inline void activate_columns(Activation activation, std::int64_t width, std::int64_t columns, const float* bias,
                             const float* reference, float* phi) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const bool joint = activation == Activation::kJointSoftmax, normalised = activation != Activation::kExp;
  const auto sign = hn::Set(d, joint ? 2.0f : 1.0f);
  for (std::int64_t j = 0; j < columns; j += lanes) {
    float *positive = phi + j, *negative = phi + width * columns + j;
    auto high = hn::Set(d, -3.0e38f), low = hn::Set(d, 3.0e38f);
    for (std::int64_t m = 0; m < width; ++m) {
      auto u = hn::LoadU(d, negative + m * columns);
      if (bias != nullptr) u = hn::Add(u, hn::Set(d, bias[m]));
      hn::StoreU(u, d, negative + m * columns);
      high = hn::Max(high, u);
      low = hn::Min(low, u);
    }
    auto top = high, bottom = hn::Neg(low);
    if (joint) top = bottom = hn::Mul(sign, hn::Max(top, bottom));
    if (!normalised) top = bottom = hn::LoadU(d, reference + j);
    auto positive_sum = hn::Zero(d), negative_sum = hn::Zero(d);
    for (std::int64_t m = 0; m < width; ++m) {
      const auto u = hn::Mul(sign, hn::LoadU(d, negative + m * columns));
      const auto up = exponential(hn::Sub(u, top)), down = exponential(hn::Neg(hn::Add(u, bottom)));
      positive_sum = hn::Add(positive_sum, up);
      negative_sum = hn::Add(negative_sum, down);
      hn::StoreU(up, d, positive + m * columns);
      hn::StoreU(down, d, negative + m * columns);
    }
    if (!normalised) continue;
    if (joint) positive_sum = negative_sum = hn::Add(positive_sum, negative_sum);
    const auto up_scale = hn::Div(hn::Set(d, 1.0f), positive_sum), down_scale = hn::Div(hn::Set(d, 1.0f), negative_sum);
    for (std::int64_t m = 0; m < width; ++m) {
      hn::StoreU(hn::Mul(up_scale, hn::LoadU(d, positive + m * columns)), d, positive + m * columns);
      hn::StoreU(hn::Mul(down_scale, hn::LoadU(d, negative + m * columns)), d, negative + m * columns);
    }
  }
}

// activate_row_backward for columns: φ and its gradient [2·width, columns] to du [width, columns].
template <typename Number>
inline void activate_columns_backward(Activation activation, std::int64_t width, std::int64_t columns, const Number* phi,
                                      const float* gradient, float* u_gradient) {
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const bool joint = activation == Activation::kJointSoftmax;
  const auto factor = hn::Set(d, joint ? 2.0f : 1.0f);
  for (std::int64_t j = 0; j < columns; j += lanes) {
    const Number *positive = phi + j, *negative = phi + width * columns + j;
    const float *up = gradient + j, *down = gradient + width * columns + j;
    auto positive_mean = hn::Zero(d), negative_mean = hn::Zero(d);
    for (std::int64_t m = 0; activation != Activation::kExp && m < width; ++m) {
      positive_mean = hn::MulAdd(load(d, positive + m * columns), hn::LoadU(d, up + m * columns), positive_mean);
      negative_mean = hn::MulAdd(load(d, negative + m * columns), hn::LoadU(d, down + m * columns), negative_mean);
    }
    if (joint) positive_mean = negative_mean = hn::Add(positive_mean, negative_mean);
    for (std::int64_t m = 0; m < width; ++m) {
      const auto of_positive = hn::Mul(load(d, positive + m * columns), hn::Sub(hn::LoadU(d, up + m * columns), positive_mean));
      const auto of_negative =
          hn::Mul(load(d, negative + m * columns), hn::Sub(hn::LoadU(d, down + m * columns), negative_mean));
      hn::StoreU(hn::Mul(factor, hn::Sub(of_positive, of_negative)), d, u_gradient + m * columns + j);
    }
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
