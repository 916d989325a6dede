// See product_bf16.h. The intrinsics are compiled for their instructions alone, whatever the rest of the program is compiled
// for.
#include "hedgehog/kernels/cpu/product_bf16.h"

#include "hedgehog/kernels/cpu/product_amx.h"

#include <cstring>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HEDGEHOG_BF16_PRODUCTS 1
#include <immintrin.h>
#endif

namespace hedgehog::kernels {

#ifdef HEDGEHOG_BF16_PRODUCTS

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")

namespace {

constexpr std::int64_t kLanes = 16;

struct Block : Bf16Product {
  __mmask16 tail;  // lanes of the last vector that exist
};

inline __attribute__((always_inline)) int pair_at(const std::uint16_t* numbers) {
  int pair;
  std::memcpy(&pair, numbers, sizeof(pair));
  return pair;
}

template <int kRows, int kVectors>
inline __attribute__((always_inline)) void multiply_block(const Block& block) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) sum[r][n] = _mm512_setzero_ps();
  }
  const std::uint16_t* a = block.a;
  const std::uint32_t* b = block.b;
  for (std::int64_t p = 0; p < block.pairs; ++p, a += 2, b += block.b_row) {
    __m512i right[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      right[n] = n == kVectors - 1 ? _mm512_maskz_loadu_epi32(block.tail, b + n * kLanes) : _mm512_loadu_si512(b + n * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair_at(a + r * block.a_row)));
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[r][n] = _mm512_dpbf16_ps(sum[r][n], left, reinterpret_cast<__m512bh>(right[n]));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      float* to = block.c + r * block.c_row + n * kLanes;
      const __mmask16 valid = n == kVectors - 1 ? block.tail : static_cast<__mmask16>(0xFFFF);
      const __m512 before = block.add ? _mm512_maskz_loadu_ps(valid, to) : _mm512_setzero_ps();
      _mm512_mask_storeu_ps(to, valid, _mm512_add_ps(sum[r][n], before));
    }
  }
}

template <int kVectors>
__attribute__((noinline)) void multiply_panel(std::int64_t m, Block block) {
  for (; m >= 6; m -= 6) {
    multiply_block<6, kVectors>(block);
    block.a += 6 * block.a_row;
    block.c += 6 * block.c_row;
  }
  switch (m) {
    case 5:
      return multiply_block<5, kVectors>(block);
    case 4:
      return multiply_block<4, kVectors>(block);
    case 3:
      return multiply_block<3, kVectors>(block);
    case 2:
      return multiply_block<2, kVectors>(block);
    case 1:
      return multiply_block<1, kVectors>(block);
    default:
      return;
  }
}

void multiply_vectors(const Bf16Product& product) {
  Block block{product, 0};
  const std::int64_t m = product.m;
  std::int64_t n = product.n;
  while (n > 0) {
    const std::int64_t vectors = n >= 4 * kLanes ? 4 : (n + kLanes - 1) / kLanes;
    const std::int64_t last = n - (vectors - 1) * kLanes;
    block.tail = static_cast<__mmask16>(last >= kLanes ? 0xFFFF : (1u << last) - 1);
    switch (vectors) {
      case 1:
        multiply_panel<1>(m, block);
        break;
      case 2:
        multiply_panel<2>(m, block);
        break;
      case 3:
        multiply_panel<3>(m, block);
        break;
      default:
        multiply_panel<4>(m, block);
        break;
    }
    n -= vectors * kLanes;
    block.b += vectors * kLanes;
    block.c += vectors * kLanes;
  }
}

}  // namespace

#pragma GCC pop_options

void product_bf16(std::int64_t m, std::int64_t n, std::int64_t pairs, const std::uint16_t* a, std::int64_t a_row,
                  const std::uint32_t* b, std::int64_t b_row, float* c, std::int64_t c_row, bool add) {
  const Bf16Product product{m, n, pairs, a, a_row, b, b_row, c, c_row, add};
  if (in_tile_scope()) {
    product_amx(product, multiply_vectors);
  } else {
    multiply_vectors(product);
  }
}

bool has_bf16_products() {
  static const bool has =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return has;
}

#else

bool has_bf16_products() {
  return false;
}

void product_bf16(std::int64_t, std::int64_t, std::int64_t, const std::uint16_t*, std::int64_t, const std::uint32_t*,
                  std::int64_t, float*, std::int64_t, bool) {}

#endif

}  // namespace hedgehog::kernels
