// Numbers of a linear state to fp32 and back, rounded at random. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_STATE_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_STATE_ROW_INL_H_
#undef HEDGEHOG_KERNELS_CPU_STATE_ROW_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_STATE_ROW_INL_H_
#endif

#include "hedgehog/kernels/cpu/element-inl.h"
#include "hedgehog/kernels/cpu/linear_state.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

template <class D>
using Bits = hn::Vec<hn::RebindToUnsigned<D>>;

// In units of the row's scale.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const std::int8_t* p) {
  const hn::Rebind<std::int8_t, D> bytes;
  const hn::RebindToSigned<D> integers;
  return hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(bytes, p)));
}

template <class D>
HWY_INLINE void store_rounded(hn::Vec<D> v, D d, Bits<D>, float* p) {
  hn::StoreU(v, d, p);
}

// `random`: 16 bits. Beyond the largest bf16 number it stays that.
template <class D>
HWY_INLINE void store_rounded(hn::Vec<D> v, D d, Bits<D> random, std::uint16_t* p) {
  const hn::RebindToUnsigned<D> bits;
  const hn::Rebind<std::uint16_t, D> halves;
  const auto most = hn::Set(d, 3.3895314e38f);
  const auto finite = hn::Max(hn::Neg(most), hn::Min(v, most));
  hn::StoreU(hn::TruncateTo(halves, hn::ShiftRight<16>(hn::Add(hn::BitCast(bits, finite), random))), halves, p);
}

// `factor`: 2^15 / the row's scale; the product is at most 127·2^15 in size. `random`: 15 bits and kInt8Offset.
template <class D>
HWY_INLINE void store_scaled(hn::Vec<D> v, hn::Vec<D> factor, D d, Bits<D> random, std::int8_t* p) {
  const hn::RebindToUnsigned<D> bits;
  const hn::Rebind<std::uint8_t, D> bytes;
  // Adding 1.5·2^23 leaves the product as an integer in the low bits. They begin at 2^22, which makes 128 of the byte that is
  // left after the shift; the offset makes it 256, nothing.
  const auto fixed = hn::BitCast(bits, hn::MulAdd(v, factor, hn::Set(d, 12582912.0f)));
  const auto shifted = hn::ShiftRight<15>(hn::Add(fixed, random));
  hn::StoreU(hn::TruncateTo(bytes, shifted), bytes, reinterpret_cast<std::uint8_t*>(p));
}

// The largest size in a row of int8 numbers: less than 127 by so little that a product of two roundings does not exceed it.
constexpr float kInt8Most = 127 * (1 - 0x1p-22f);
// A row whose numbers are smaller than this is rounded to whole multiples of it, so that its inverse is finite.
constexpr float kLeastScale = 0x1p-110f;
// Numbers of a row from this on, an infinity too that is the sum of finite ones, become this.
constexpr float kInt8Limit = 3.0e38f;

// The scales of int8 rows whose largest numbers have the sizes `most`.
template <class D>
HWY_INLINE hn::Vec<D> int8_scales(D d, hn::Vec<D> most) {
  const auto scale = hn::Div(hn::Min(most, hn::Set(d, kInt8Limit)), hn::Set(d, kInt8Most));
  return hn::IfThenElseZero(hn::Gt(most, hn::Zero(d)), hn::Max(scale, hn::Set(d, kLeastScale)));
}

// store_scaled()'s factors.
template <class D>
HWY_INLINE hn::Vec<D> int8_factors(D d, hn::Vec<D> scale) {
  return hn::IfThenElseZero(hn::Gt(scale, hn::Zero(d)), hn::Div(hn::Set(d, 32768.0f), scale));
}

HWY_INLINE void limit_row(float* row, std::int64_t n) {
  over(n, [&](auto d, std::int64_t i) {
    const auto most = hn::Set(d, kInt8Limit);
    hn::StoreU(hn::Max(hn::Neg(most), hn::Min(hn::LoadU(d, row + i), most)), d, row + i);
  });
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
