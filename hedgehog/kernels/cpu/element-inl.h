// Vectors of fp32 from and to memory that holds fp32 or bf16. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_ELEMENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_ELEMENT_INL_H_
#undef HEDGEHOG_KERNELS_CPU_ELEMENT_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_ELEMENT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* p) {
  const hn::RebindToUnsigned<D> bits;
  const hn::Rebind<std::uint16_t, D> halves;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(halves, p))));
}

template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, float* p) {
  hn::StoreU(v, d, p);
}

// Rounds to nearest, ties to even, as LibTorch does.
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, std::uint16_t* p) {
  const hn::RebindToUnsigned<D> bits;
  const hn::RebindToSigned<D> integers;
  const hn::Rebind<std::uint16_t, D> halves;
  const auto b = hn::BitCast(bits, v);
  const auto last = hn::And(hn::ShiftRight<16>(b), hn::Set(bits, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(b, hn::Add(last, hn::Set(bits, 0x7FFFu))));
  const auto quiet = hn::IfThenElse(hn::RebindMask(bits, hn::IsNaN(v)), hn::Set(bits, 0x7FC0u), rounded);
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(integers, quiet)), halves, p);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
