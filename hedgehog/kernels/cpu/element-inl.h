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

using WholeTag = hn::ScalableTag<float>;
using OneTag = hn::CappedTag<float, 1>;

// Calls body(tag, i) over [0, n): whole vectors, then single elements.
template <class Body>
HWY_INLINE void over(std::int64_t n, const Body& body) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(WholeTag()));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(WholeTag(), i);
  for (; i < n; ++i) body(OneTag(), i);
}

// Sum over i of term(tag, i), in two chains that hide the latency of the additions.
template <class Term>
HWY_INLINE float sum_over(std::int64_t n, const Term& term) {
  const WholeTag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Add(even, term(d, i));
    odd = hn::Add(odd, term(d, i + lanes));
  }
  for (; i + lanes <= n; i += lanes) even = hn::Add(even, term(d, i));
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) total += hn::GetLane(term(OneTag(), i));
  return total;
}

// to = x, in the other format.
template <typename X, typename To>
HWY_INLINE void convert_row(const X* x, std::int64_t n, To* to) {
  over(n, [&](auto d, std::int64_t i) { store(load(d, x + i), d, to + i); });
}

// Σ_i x_i y_i
template <typename X, typename Y>
HWY_INLINE float dot_of(const X* x, const Y* y, std::int64_t n) {
  return sum_over(n, [&](auto d, std::int64_t i) { return hn::Mul(load(d, x + i), load(d, y + i)); });
}

// to = x ∘ y
template <typename X>
HWY_INLINE void multiply_row(const X* x, const float* y, std::int64_t n, X* to) {
  over(n, [&](auto d, std::int64_t i) { store(hn::Mul(load(d, x + i), load(d, y + i)), d, to + i); });
}

// to += x ∘ y
template <typename X>
HWY_INLINE void multiply_add_row(const X* x, const float* y, std::int64_t n, float* to) {
  over(n, [&](auto d, std::int64_t i) { store(hn::MulAdd(load(d, x + i), load(d, y + i), load(d, to + i)), d, to + i); });
}

// to += weight · x
template <typename X>
HWY_INLINE void add_row(const X* x, std::int64_t n, float weight, float* to) {
  over(n, [&](auto d, std::int64_t i) { store(hn::MulAdd(hn::Set(d, weight), load(d, x + i), load(d, to + i)), d, to + i); });
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
