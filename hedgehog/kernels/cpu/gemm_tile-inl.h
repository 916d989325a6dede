// Small matrix products on tiles that lie in the caches: C (+)= A B with B read in rows of vectors and A by broadcasts,
// so that A may be transposed by its strides at no cost. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_GEMM_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_GEMM_TILE_INL_H_
#undef HEDGEHOG_KERNELS_CPU_GEMM_TILE_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_GEMM_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

enum class Store { kOverwrite, kAdd };

// kRows rows by kVectors vectors of C. `tail`: lanes of the last vector that exist (all when it equals Lanes).
template <int kRows, int kVectors, bool kPartial, class DF>
HWY_INLINE void gemm_block(DF d, std::int64_t k, const float* HWY_RESTRICT a, std::int64_t a_row, std::int64_t a_column,
                           const float* HWY_RESTRICT b, std::int64_t b_row, float* HWY_RESTRICT c, std::int64_t c_row,
                           std::size_t tail, Store store) {
  using V = hn::Vec<DF>;
  const std::size_t lanes = hn::Lanes(d);
  V sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::Zero(d);
  }
  for (std::int64_t p = 0; p < k; ++p) {
    V right[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      right[n] =
          kPartial && n == kVectors - 1 ? hn::MaskedLoad(hn::FirstN(d, tail), d, b + n * lanes) : hn::LoadU(d, b + n * lanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V left = hn::Set(d, a[r * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::MulAdd(left, right[n], sum[r][n]);
    }
    a += a_column;
    b += b_row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      float* to = c + r * c_row + n * lanes;
      if (kPartial && n == kVectors - 1) {
        const V value = store == Store::kAdd ? hn::Add(sum[r][n], hn::MaskedLoad(hn::FirstN(d, tail), d, to)) : sum[r][n];
        hn::BlendedStore(value, hn::FirstN(d, tail), d, to);
      } else {
        hn::StoreU(store == Store::kAdd ? hn::Add(sum[r][n], hn::LoadU(d, to)) : sum[r][n], d, to);
      }
    }
  }
}

template <int kVectors, bool kPartial, class DF>
HWY_INLINE void gemm_panel(DF d, std::int64_t m, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_column,
                           const float* b, std::int64_t b_row, float* c, std::int64_t c_row, std::size_t tail, Store store) {
  // Six rows by two vectors keep twelve sums in flight: enough to hide the latency of two FMA units with sixteen registers.
  std::int64_t i = 0;
  for (; i + 6 <= m; i += 6) {
    gemm_block<6, kVectors, kPartial>(d, k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, tail, store);
  }
  a += i * a_row;
  c += i * c_row;
  switch (m - i) {
    case 5:
      return gemm_block<5, kVectors, kPartial>(d, k, a, a_row, a_column, b, b_row, c, c_row, tail, store);
    case 4:
      return gemm_block<4, kVectors, kPartial>(d, k, a, a_row, a_column, b, b_row, c, c_row, tail, store);
    case 3:
      return gemm_block<3, kVectors, kPartial>(d, k, a, a_row, a_column, b, b_row, c, c_row, tail, store);
    case 2:
      return gemm_block<2, kVectors, kPartial>(d, k, a, a_row, a_column, b, b_row, c, c_row, tail, store);
    case 1:
      return gemm_block<1, kVectors, kPartial>(d, k, a, a_row, a_column, b, b_row, c, c_row, tail, store);
    default:
      return;
  }
}

// C [m, n] (+)= A [m, k] B [k, n]. A's element (i, p) lies at a[i·a_row + p·a_column]; rows of B and C are contiguous.
inline HWY_NOINLINE void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_row,
                              std::int64_t a_column, const float* b, std::int64_t b_row, float* c, std::int64_t c_row,
                              Store store) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (m <= 0 || n <= 0) return;
  // A block of B this deep and two vectors wide stays in the first cache while all rows of A pass over it.
  constexpr std::int64_t kDepth = 384;
  for (; k > kDepth; k -= kDepth) {
    gemm(m, n, kDepth, a, a_row, a_column, b, b_row, c, c_row, store);
    a += kDepth * a_column;
    b += kDepth * b_row;
    store = Store::kAdd;
  }
  std::int64_t j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    gemm_panel<2, false>(d, m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, 0, store);
  }
  const std::int64_t rest = n - j;
  if (rest > lanes) {
    gemm_panel<2, true>(d, m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, static_cast<std::size_t>(rest - lanes), store);
  } else if (rest == lanes) {
    gemm_panel<1, false>(d, m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, 0, store);
  } else if (rest > 0) {
    gemm_panel<1, true>(d, m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, static_cast<std::size_t>(rest), store);
  }
}

// to [columns, rows] = from [rows, columns] transposed.
inline void transpose(std::int64_t rows, std::int64_t columns, const float* HWY_RESTRICT from, std::int64_t from_row,
                      float* HWY_RESTRICT to, std::int64_t to_row) {
  constexpr std::int64_t kBlock = 8;
  for (std::int64_t i = 0; i < rows; i += kBlock) {
    const std::int64_t i_end = i + kBlock < rows ? i + kBlock : rows;
    for (std::int64_t j = 0; j < columns; ++j) {
      for (std::int64_t r = i; r < i_end; ++r) to[j * to_row + r] = from[r * from_row + j];
    }
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
