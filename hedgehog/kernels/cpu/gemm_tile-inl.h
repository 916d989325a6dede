// Small matrix products on tiles that lie in the caches, for every instruction set: the definition is gemm_tile.cc. Included
// once per instruction set.
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

enum class Store { kOverwrite, kAdd };

// C [m, n] (+)= A [m, k] B [k, n]. A's element (i, p) lies at a[i·a_row + p·a_column], so that A may be transposed by its
// strides at no cost; rows of B and C are contiguous. An element's sum runs over p in order whatever m and n are.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t a_row, std::int64_t a_column,
          const float* b, std::int64_t b_row, float* c, std::int64_t c_row, Store store);

// to [columns, rows] = from [rows, columns] transposed.
void transpose(std::int64_t rows, std::int64_t columns, const float* from, std::int64_t from_row, float* to,
               std::int64_t to_row);

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
