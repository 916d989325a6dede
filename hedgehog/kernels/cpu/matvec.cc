#include "hedgehog/kernels/cpu/matvec.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

// The accumulators below are arrays of vectors, which vectors of unknown size cannot form.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/matvec.cc"
#include <hwy/foreach_target.h>
// foreach_target.h comes before highway.h.
#include "hedgehog/kernels/cpu/element-inl.h"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

HWY_INLINE float widen(float w) {
  return w;
}

HWY_INLINE float widen(std::uint16_t w) {
  const std::uint32_t bits = static_cast<std::uint32_t>(w) << 16;
  float value;
  hwy::CopySameSize(&bits, &value);
  return value;
}

// W is read as one stream, row after row: several rows at a time would be as many streams, each too short for the processor's
// prefetcher to find (576 inputs in bf16: 18 cache lines). Asking for W this far ahead hides the rest of the memory's latency.
constexpr std::int64_t kPrefetchBytes = 4096;

// Each sum runs in so many interleaved chains, which hide the latency of the additions; as many for any number of vectors, so
// that the order of summation does not depend on it.
constexpr int kChains = 4;

// One row of W against kRows vectors.
template <int kRows, typename Weight>
HWY_INLINE void row(const Matvec& m, const Weight* HWY_RESTRICT w, std::int64_t output) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(Floats()));
  const std::int64_t inputs = m.inputs;
  Vector sum[kRows][kChains];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      sum[r][c] = hn::Zero(Floats());
    }
  }
  std::int64_t i = 0;
  for (; i + kChains * lanes <= inputs; i += kChains * lanes) {
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      const std::int64_t at = i + c * lanes;
      hwy::Prefetch(w + at + kPrefetchBytes / static_cast<std::int64_t>(sizeof(Weight)));
      const Vector v = load(Floats(), w + at);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        sum[r][c] = hn::MulAdd(v, hn::LoadU(Floats(), m.x + r * inputs + at), sum[r][c]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const float* x = m.x + r * inputs;
    Vector all = hn::Add(hn::Add(sum[r][0], sum[r][1]), hn::Add(sum[r][2], sum[r][3]));
    std::int64_t rest = i;
    for (; rest + lanes <= inputs; rest += lanes) {
      all = hn::MulAdd(load(Floats(), w + rest), hn::LoadU(Floats(), x + rest), all);
    }
    float total = hn::GetLane(hn::SumOfLanes(Floats(), all));
    for (; rest < inputs; ++rest) {
      total += widen(w[rest]) * x[rest];
    }
    m.y[r * m.outputs + output] = m.bias == nullptr ? total : total + m.bias[output];
  }
}

template <int kRows, typename Weight>
void outputs(const Matvec& m, std::int64_t first, std::int64_t last) {
  const Weight* weight = static_cast<const Weight*>(m.weight);
  for (std::int64_t output = first; output < last; ++output) {
    row<kRows>(m, weight + output * m.inputs, output);
  }
}

template <typename Weight>
void rows(const Matvec& m, std::int64_t first, std::int64_t last) {
  switch (m.rows) {
    case 1:
      return outputs<1, Weight>(m, first, last);
    case 2:
      return outputs<2, Weight>(m, first, last);
    case 3:
      return outputs<3, Weight>(m, first, last);
    default:
      return outputs<4, Weight>(m, first, last);
  }
}

void run(const Matvec& m, std::int64_t first, std::int64_t last) {
  if (m.weight_element == Element::kBfloat16) {
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
  HEDGEHOG_DISPATCH(run)(operation, first, last);
}

const char* matvec_target() {
  return HEDGEHOG_DISPATCH(target)();
}

}  // namespace hedgehog::kernels
#endif
