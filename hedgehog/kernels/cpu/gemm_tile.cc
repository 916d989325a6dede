// See gemm_tile-inl.h: C (+)= A B with B read in rows of vectors and A by broadcasts.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/gemm_tile.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/gemm_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As many sums as the registers hold beside a row of B and a broadcast of A: 24 of 32, 12 of 16. Fewer would not hide the
// latency of the multiplications.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3) || HWY_ARCH_ARM_A64
constexpr int kMostVectors = 4;
#else
constexpr int kMostVectors = 2;
#endif
constexpr int kMostRows = 6;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// One product's operands, as a block sees them.
struct Block {
  std::int64_t k;
  const float* a;
  std::int64_t a_row, a_column;
  const float* b;
  std::int64_t b_row;
  float* c;
  std::int64_t c_row;
  std::size_t tail;  // lanes of the last vector that exist, where it is partial
  Store store;
};

template <int kRows, int kVectors, bool kPartial>
HWY_INLINE void multiply_block(const Block& block) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const float *HWY_RESTRICT a = block.a, *HWY_RESTRICT b = block.b;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::Zero(d);
  }
  for (std::int64_t p = 0; p < block.k; ++p) {
    Vector right[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      right[n] = kPartial && n == kVectors - 1 ? hn::MaskedLoad(hn::FirstN(d, block.tail), d, b + n * lanes)
                                               : hn::LoadU(d, b + n * lanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector left = hn::Set(d, a[r * block.a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::MulAdd(left, right[n], sum[r][n]);
    }
    a += block.a_column;
    b += block.b_row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      float* to = block.c + r * block.c_row + n * lanes;
      if (kPartial && n == kVectors - 1) {
        const auto valid = hn::FirstN(d, block.tail);
        const Vector value = block.store == Store::kAdd ? hn::Add(sum[r][n], hn::MaskedLoad(valid, d, to)) : sum[r][n];
        hn::BlendedStore(value, valid, d, to);
      } else {
        hn::StoreU(block.store == Store::kAdd ? hn::Add(sum[r][n], hn::LoadU(d, to)) : sum[r][n], d, to);
      }
    }
  }
}

template <int kVectors, bool kPartial>
HWY_NOINLINE void multiply_panel(std::int64_t m, Block block) {
  const auto next = [&block](std::int64_t rows) {
    block.a += rows * block.a_row;
    block.c += rows * block.c_row;
  };
  for (; m >= kMostRows; m -= kMostRows) {
    multiply_block<kMostRows, kVectors, kPartial>(block);
    next(kMostRows);
  }
  switch (m) {
    case 5:
      return multiply_block<5, kVectors, kPartial>(block);
    case 4:
      return multiply_block<4, kVectors, kPartial>(block);
    case 3:
      return multiply_block<3, kVectors, kPartial>(block);
    case 2:
      return multiply_block<2, kVectors, kPartial>(block);
    case 1:
      return multiply_block<1, kVectors, kPartial>(block);
    default:
      return;
  }
}

template <int kVectors>
void multiply_vectors(std::int64_t m, const Block& block, bool partial) {
  if (partial) {
    multiply_panel<kVectors, true>(m, block);
  } else {
    multiply_panel<kVectors, false>(m, block);
  }
}

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_column,
          const float* b, std::int64_t b_row, float* c, std::int64_t c_row, Store store) {
  if (m <= 0 || n <= 0) return;
  // A panel of B this deep stays in the first cache while all rows of A pass over it.
  constexpr std::int64_t kDepth = 256;
  for (; k > kDepth; k -= kDepth) {
    gemm(m, n, kDepth, a, a_row, a_column, b, b_row, c, c_row, store);
    a += kDepth * a_column;
    b += kDepth * b_row;
    store = Store::kAdd;
  }
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(Floats()));
  Block block{k, a, a_row, a_column, b, b_row, c, c_row, 0, store};
  while (n > 0) {
    const std::int64_t whole = n / lanes, tail = n % lanes;
    const std::int64_t vectors = whole >= kMostVectors ? kMostVectors : whole + (tail > 0 ? 1 : 0);
    const bool partial = vectors > whole;
    block.tail = static_cast<std::size_t>(tail);
    switch (vectors) {
      case 1:
        multiply_vectors<1>(m, block, partial);
        break;
      case 2:
        multiply_vectors<2>(m, block, partial);
        break;
      case 3:
        multiply_vectors < kMostVectors<3 ? 1 : 3>(m, block, partial);
        break;
      default:
        multiply_vectors<kMostVectors>(m, block, partial);
        break;
    }
    n -= vectors * lanes;
    block.b += vectors * lanes;
    block.c += vectors * lanes;
  }
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr std::int64_t kBlockSide = 16;

// 16×16 numbers: pairs of rows, then of pairs, are interleaved within quarters of a vector, then quarters change places.
HWY_INLINE void transpose_block(const float* from, std::int64_t from_row, float* to, std::int64_t to_row) {
  const auto low = [](__m512i a, __m512i b) { return _mm512_unpacklo_epi32(a, b); };
  const auto high = [](__m512i a, __m512i b) { return _mm512_unpackhi_epi32(a, b); };
  __m512i quads[16];  // quads[4·i + c]: columns c, 4 + c, 8 + c, 12 + c of rows 4·i … 4·i + 3
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const float* x = from + 4 * i * from_row;
    const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + from_row), c = _mm512_loadu_si512(x + 2 * from_row),
                  d = _mm512_loadu_si512(x + 3 * from_row);
    const __m512i ab_low = low(a, b), ab_high = high(a, b), cd_low = low(c, d), cd_high = high(c, d);
    quads[4 * i] = _mm512_unpacklo_epi64(ab_low, cd_low);
    quads[4 * i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
    quads[4 * i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
    quads[4 * i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i a = quads[c], b = quads[4 + c], e = quads[8 + c], f = quads[12 + c];
    const __m512i even_low = _mm512_shuffle_i32x4(a, b, 0x88), odd_low = _mm512_shuffle_i32x4(a, b, 0xdd);
    const __m512i even_high = _mm512_shuffle_i32x4(e, f, 0x88), odd_high = _mm512_shuffle_i32x4(e, f, 0xdd);
    _mm512_storeu_si512(to + c * to_row, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
    _mm512_storeu_si512(to + (4 + c) * to_row, _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
    _mm512_storeu_si512(to + (8 + c) * to_row, _mm512_shuffle_i32x4(even_low, even_high, 0xdd));
    _mm512_storeu_si512(to + (12 + c) * to_row, _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd));
  }
}
#elif HWY_TARGET == HWY_AVX2
constexpr std::int64_t kBlockSide = 8;

// 8×8 numbers, likewise.
HWY_INLINE void transpose_block(const float* from, std::int64_t from_row, float* to, std::int64_t to_row) {
  __m256 quads[8];  // quads[4·i + c]: columns c, 4 + c of rows 4·i … 4·i + 3
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const float* x = from + 4 * i * from_row;
    const __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(x + from_row), c = _mm256_loadu_ps(x + 2 * from_row),
                 d = _mm256_loadu_ps(x + 3 * from_row);
    const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b), cd_low = _mm256_unpacklo_ps(c, d),
                 cd_high = _mm256_unpackhi_ps(c, d);
    quads[4 * i] = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
    quads[4 * i + 1] = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
    quads[4 * i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
    quads[4 * i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    _mm256_storeu_ps(to + c * to_row, _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x20));
    _mm256_storeu_ps(to + (4 + c) * to_row, _mm256_permute2f128_ps(quads[c], quads[4 + c], 0x31));
  }
}
#endif

void transpose(std::int64_t rows, std::int64_t columns, const float* HWY_RESTRICT from, std::int64_t from_row,
               float* HWY_RESTRICT to, std::int64_t to_row) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  if (rows >= kBlockSide && columns >= kBlockSide) {
    const std::int64_t many_rows = rows / kBlockSide * kBlockSide, many_columns = columns / kBlockSide * kBlockSide;
    for (std::int64_t j = 0; j < many_columns; j += kBlockSide) {
      for (std::int64_t i = 0; i < many_rows; i += kBlockSide) {
        transpose_block(from + i * from_row + j, from_row, to + j * to_row + i, to_row);
      }
    }
    if (many_columns < columns) {
      transpose(many_rows, columns - many_columns, from + many_columns, from_row, to + many_columns * to_row, to_row);
    }
    if (many_rows < rows) transpose(rows - many_rows, columns, from + many_rows * from_row, from_row, to + many_rows, to_row);
    return;
  }
#endif
  // Blocks of 4×4 in vectors of four; what is left over one by one.
#if HWY_TARGET == HWY_SCALAR
  const std::int64_t whole_rows = 0;
#else
  const hn::FixedTag<float, 4> d;
  const hn::Repartition<std::uint64_t, decltype(d)> pairs;
  const std::int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (std::int64_t i = 0; i < whole_rows; i += 4) {
    const float* x = from + i * from_row;
    for (std::int64_t j = 0; j < whole_columns; j += 4) {
      const auto a = hn::LoadU(d, x + j), b = hn::LoadU(d, x + from_row + j), c = hn::LoadU(d, x + 2 * from_row + j),
                 e = hn::LoadU(d, x + 3 * from_row + j);
      const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b)),
                 ab_high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
      const auto ce_low = hn::BitCast(pairs, hn::InterleaveLower(d, c, e)),
                 ce_high = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
      float* y = to + j * to_row + i;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab_low, ce_low)), d, y);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_low, ce_low)), d, y + to_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, ab_high, ce_high)), d, y + 2 * to_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, ab_high, ce_high)), d, y + 3 * to_row);
    }
    for (std::int64_t j = whole_columns; j < columns; ++j) {
      for (std::int64_t r = i; r < i + 4; ++r) to[j * to_row + r] = from[r * from_row + j];
    }
  }
#endif
  for (std::int64_t i = whole_rows; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) to[j * to_row + i] = from[i * from_row + j];
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
