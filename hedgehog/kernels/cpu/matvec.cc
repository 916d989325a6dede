#include "hedgehog/kernels/cpu/matvec.h"

// The accumulators below are arrays of vectors, which vectors of unknown size cannot form.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/matvec.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes before highway.h.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

HWY_INLINE Vector load(const float* p) {
  return hn::LoadU(Floats(), p);
}

HWY_INLINE Vector load(const std::uint16_t* p) {
  const hn::RebindToUnsigned<Floats> bits;
  const hn::Rebind<std::uint16_t, Floats> halves;
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(halves, p))));
}

HWY_INLINE float widen(float w) {
  return w;
}

HWY_INLINE float widen(std::uint16_t w) {
  const std::uint32_t bits = static_cast<std::uint32_t>(w) << 16;
  float value;
  hwy::CopySameSize(&bits, &value);
  return value;
}

// kOutputs rows of W against kRows vectors: each vector of W is loaded once, each product has one accumulator of its own, so
// that its order of summation is the same in every block shape.
template <int kOutputs, int kRows, typename Weight>
HWY_INLINE void block(const Matvec& m, const Weight* HWY_RESTRICT weight, std::int64_t output) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(Floats()));
  const std::int64_t inputs = m.inputs;
  const Weight* HWY_RESTRICT w = weight + output * inputs;
  Vector sum[kOutputs][kRows];
#pragma GCC unroll 8
  for (int o = 0; o < kOutputs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sum[o][r] = hn::Zero(Floats());
    }
  }
  std::int64_t i = 0;
  for (; i + lanes <= inputs; i += lanes) {
    Vector x[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      x[r] = hn::LoadU(Floats(), m.x + r * inputs + i);
    }
#pragma GCC unroll 8
    for (int o = 0; o < kOutputs; ++o) {
      const Vector v = load(w + o * inputs + i);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        sum[o][r] = hn::MulAdd(v, x[r], sum[o][r]);
      }
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < kOutputs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      float total = hn::GetLane(hn::SumOfLanes(Floats(), sum[o][r]));
      for (std::int64_t rest = i; rest < inputs; ++rest) {
        total += widen(w[o * inputs + rest]) * m.x[r * inputs + rest];
      }
      m.y[r * m.outputs + output + o] = m.bias == nullptr ? total : total + m.bias[output + o];
    }
  }
}

template <int kOutputs, int kRows, typename Weight>
void outputs(const Matvec& m, std::int64_t first, std::int64_t last) {
  const Weight* weight = static_cast<const Weight*>(m.weight);
  std::int64_t output = first;
  for (; output + kOutputs <= last; output += kOutputs) {
    block<kOutputs, kRows>(m, weight, output);
  }
  for (; output < last; ++output) {
    block<1, kRows>(m, weight, output);
  }
}

// Blocks as tall as 16 vector registers allow.
template <typename Weight>
void rows(const Matvec& m, std::int64_t first, std::int64_t last) {
  switch (m.rows) {
    case 1:
      return outputs<4, 1, Weight>(m, first, last);
    case 2:
      return outputs<4, 2, Weight>(m, first, last);
    case 3:
      return outputs<3, 3, Weight>(m, first, last);
    default:
      return outputs<2, 4, Weight>(m, first, last);
  }
}

void run(const Matvec& m, std::int64_t first, std::int64_t last) {
  if (m.weight_type == MatvecWeight::kBfloat16) {
    rows<std::uint16_t>(m, first, last);
  } else {
    rows<float>(m, first, last);
  }
}

const char* target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hedgehog::kernels {

HWY_EXPORT(run);
HWY_EXPORT(target);

void matvec(const Matvec& operation, std::int64_t first, std::int64_t last) {
  HWY_DYNAMIC_DISPATCH(run)(operation, first, last);
}

const char* matvec_target() {
  return HWY_DYNAMIC_DISPATCH(target)();
}

}  // namespace hedgehog::kernels
#endif
