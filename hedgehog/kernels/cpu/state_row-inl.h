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

// The random numbers for a row's columns.
template <class D>
HWY_INLINE Bits<D> random_bits(D d, const std::uint32_t* columns, std::uint32_t row) {
  const hn::RebindToUnsigned<D> bits;
  return hn::Xor(hn::LoadU(bits, columns), hn::Set(bits, row));
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

// v: in units of the scale, at most 127 in size. `random`: 15 bits.
template <class D>
HWY_INLINE void store_rounded(hn::Vec<D> v, D d, Bits<D> random, std::int8_t* p) {
  const hn::RebindToUnsigned<D> bits;
  const hn::Rebind<std::uint8_t, D> bytes;
  // Adding 1.5·2^23 leaves v·2^15 as an integer in the low bits. They begin at 2^22, which makes 128 of the byte that is left
  // after the shift: adding it again makes 256, nothing.
  const auto fixed = hn::BitCast(bits, hn::MulAdd(v, hn::Set(d, 32768.0f), hn::Set(d, 12582912.0f)));
  const auto shifted = hn::ShiftRight<15>(hn::Add(fixed, hn::Or(random, hn::Set(bits, 1u << 22))));
  hn::StoreU(hn::TruncateTo(bytes, shifted), bytes, reinterpret_cast<std::uint8_t*>(p));
}

// The largest size in a row of int8 numbers: less than 127 by so little that a product of two roundings does not exceed it.
constexpr float kInt8Most = 127 * (1 - 0x1p-22f);
// A row whose numbers are smaller than this is rounded to whole multiples of it, so that its inverse is finite.
constexpr float kLeastScale = 0x1p-110f;

// The scale of an int8 row whose largest number has the size `most`.
HWY_INLINE float int8_scale(float most) {
  if (!(most > 0)) return 0;
  const float scale = (most < 3.0e38f ? most : 3.0e38f) / kInt8Most;
  return scale > kLeastScale ? scale : kLeastScale;
}

HWY_INLINE float inverse_scale(float scale) {
  return scale > 0 ? 1 / scale : 0;
}

// fp32 to the state's numbers; `factor`: the inverse of the scale of int8.
template <typename Number>
HWY_INLINE void round_row(const float* row, std::int64_t n, float factor, const std::uint32_t* columns, std::uint32_t bits,
                          Number* to) {
  over(n, [&](auto d, std::int64_t i) {
    auto v = hn::LoadU(d, row + i);
    if (sizeof(Number) == 1) {
      // An infinity, the sum of numbers that are finite, becomes the largest number.
      const auto most = hn::Set(d, 127.0f);
      v = hn::Max(hn::Neg(most), hn::Min(hn::Mul(v, hn::Set(d, factor)), most));
    }
    store_rounded(v, d, random_bits(d, columns + i, bits), to + i);
  });
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
