// See matrix_product.h. A unit of work is a block of columns: its part of B is packed into panels of two vectors' width, deep
// as the first cache holds one, then blocks of rows of A, as the second cache holds, pass over all its panels.
#include "hedgehog/kernels/cpu/matrix_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/matrix_product.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/gemm_tile-inl.h"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

constexpr std::int64_t kDepthBlock = 384, kRowBlock = 96, kColumnBlock = 128;

inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// to[p · to_row + i] = from[i · from_row + p] for i < count, p < depth: squares of four by four in registers.
void pack_transposed(const float* HWY_RESTRICT from, std::int64_t from_row, std::int64_t count, std::int64_t depth,
                     float* HWY_RESTRICT to, std::int64_t to_row) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> pairs;
  for (; i + 4 <= count; i += 4) {
    const float* rows = from + i * from_row;
    std::int64_t p = 0;
    for (; p + 4 <= depth; p += 4) {
      const auto r0 = hn::LoadU(d, rows + p), r1 = hn::LoadU(d, rows + from_row + p);
      const auto r2 = hn::LoadU(d, rows + 2 * from_row + p), r3 = hn::LoadU(d, rows + 3 * from_row + p);
      const auto a = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1)), b = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
      const auto e = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1)), f = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
      float* square = to + p * to_row + i;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, a, b)), d, square);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, a, b)), d, square + to_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, e, f)), d, square + 2 * to_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, e, f)), d, square + 3 * to_row);
    }
    for (; p < depth; ++p) {
      for (std::int64_t r = 0; r < 4; ++r) to[p * to_row + i + r] = rows[r * from_row + p];
    }
  }
#endif
  for (; i < count; ++i) {
    for (std::int64_t p = 0; p < depth; ++p) to[p * to_row + i] = from[i * from_row + p];
  }
}

// One panel, two vectors wide: to[p][j] = B[p][j] for p < depth, j < count; the rest of each row is zero.
void pack_panel(const float* b, std::int64_t b_row, std::int64_t b_column, std::int64_t depth, std::int64_t count, float* to) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d)), width = 2 * lanes;
  if (count < width) std::memset(to, 0, sizeof(float) * static_cast<std::size_t>(depth * width));
  if (b_column != 1) return pack_transposed(b, b_column, count, depth, to, width);
  for (std::int64_t p = 0; p < depth; ++p) {
    const float* from = b + p * b_row;
    if (count == width) {
      hn::StoreU(hn::LoadU(d, from), d, to + p * width);
      hn::StoreU(hn::LoadU(d, from + lanes), d, to + p * width + lanes);
    } else {
      for (std::int64_t j = 0; j < count; ++j) to[p * width + j] = from[j];
    }
  }
}

// Rows [row, row_end) of C's columns [column, column_end).
void block_of_columns(const MatrixProduct& m, std::int64_t row, std::int64_t row_end, std::int64_t column,
                      std::int64_t column_end) {
  const hn::ScalableTag<float> d;
  const auto width = static_cast<std::int64_t>(2 * hn::Lanes(d));
  const std::int64_t depth = ceil_divide(m.depth, ceil_divide(m.depth, kDepthBlock));
  const std::int64_t panels = ceil_divide(column_end - column, width);
  Buffer<float> packed(panels * width * depth), packed_a(m.a_column != 1 ? kRowBlock * depth : 0);
  for (std::int64_t p = 0; p < m.depth; p += depth) {
    const std::int64_t deep = least(depth, m.depth - p);
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const std::int64_t j = column + panel * width;
      pack_panel(m.b + p * m.b_row + j * m.b_column, m.b_row, m.b_column, deep, least(width, column_end - j),
                 packed.get() + panel * width * deep);
    }
    const Store store = m.add || p > 0 ? Store::kAdd : Store::kOverwrite;
    for (std::int64_t i = row; i < row_end; i += kRowBlock) {
      const std::int64_t count = least(kRowBlock, row_end - i);
      const float* a = m.a + i * m.a_row + p * m.a_column;
      std::int64_t a_row = m.a_row;
      if (m.a_column != 1) {
        pack_transposed(a, m.a_column, deep, count, packed_a.get(), deep);
        a = packed_a.get();
        a_row = deep;
      }
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        const std::int64_t j = column + panel * width, wide = least(width, column_end - j);
        const float* b = packed.get() + panel * width * deep;
        float* c = m.c + i * m.c_row + j;
        if (wide == width) {
          gemm_panel<2, false>(d, count, deep, a, a_row, 1, b, width, c, m.c_row, 0, store);
        } else {
          for (std::int64_t lane = 0; lane < wide; lane += width / 2) {
            const auto tail = static_cast<std::size_t>(least(width / 2, wide - lane));
            gemm_panel<1, true>(d, count, deep, a, a_row, 1, b + lane, width, c + lane, m.c_row, tail, store);
          }
        }
      }
    }
  }
}

void matrix_product_units(const MatrixProduct& m, std::int64_t threads, const ParallelFor& parallel_for) {
  const auto width = static_cast<std::int64_t>(2 * hn::Lanes(hn::ScalableTag<float>()));
  // As many blocks of columns as fill the caches, a multiple of the threads; where the columns are too few, rows are split too.
  const std::int64_t filling = ceil_divide(m.columns, kColumnBlock), most_blocks = ceil_divide(m.columns, width);
  const std::int64_t wanted = least(most_blocks, ceil_divide(filling, threads) * threads);
  const std::int64_t row_parts = least(ceil_divide(threads, wanted), ceil_divide(m.rows, kRowBlock));
  const std::int64_t block = ceil_divide(most_blocks, wanted) * width, blocks = ceil_divide(m.columns, block);
  const std::int64_t rows = ceil_divide(ceil_divide(m.rows, row_parts), 6) * 6;
  parallel_for(blocks * row_parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t unit = first; unit < last; ++unit) {
      const std::int64_t row = unit / blocks * rows, column = unit % blocks * block;
      if (row < m.rows) block_of_columns(m, row, least(m.rows, row + rows), column, least(m.columns, column + block));
    }
  });
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hedgehog::kernels {

HWY_EXPORT(matrix_product_units);

void matrix_product(const MatrixProduct& product, std::int64_t threads, const ParallelFor& parallel_for) {
  if (product.rows <= 0 || product.columns <= 0) return;
  if (product.depth <= 0) {
    for (std::int64_t i = 0; i < product.rows && !product.add; ++i) {
      std::memset(product.c + i * product.c_row, 0, sizeof(float) * static_cast<std::size_t>(product.columns));
    }
    return;
  }
  HWY_DYNAMIC_DISPATCH(matrix_product_units)(product, threads < 1 ? 1 : threads, parallel_for);
}

}  // namespace hedgehog::kernels
#endif
