// Two ways to multiply: fp32 numbers, or bf16 numbers with fp32 sums. Everything between products is fp32 in both. A left
// side's rows lie as they are; a right side [k, columns] lies as its product reads it. Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_MATH_INL_H_
#undef HEDGEHOG_KERNELS_CPU_MATH_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_MATH_INL_H_
#endif

#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/element-inl.h"
#include "hedgehog/kernels/cpu/gemm_tile-inl.h"
#include "hedgehog/kernels/cpu/product_bf16.h"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// One side of a product, rows `row` apart: in numbers on the left, on the right in numbers (fp32) or in words of two (bf16).
template <typename Number>
struct View {
  const Number* data;
  std::int64_t row;
  std::int64_t column = 1;  // of fp32 left sides only

  // The same from number (row, column) on; `row` in rows of numbers or of words.
  View from(std::int64_t r, std::int64_t c) const { return {data + r * row + c * column, row, column}; }
};

inline std::int64_t even(std::int64_t n) {
  return n + n % 2;
}

struct FullMath {
  using Number = float;
  static constexpr std::int64_t kPair = 1;  // numbers along k that belong together

  static void product(std::int64_t m, std::int64_t n, std::int64_t k, View<float> a, View<float> b, float* c,
                      std::int64_t c_row, Store store) {
    gemm(m, n, k, a.data, a.row, a.column, b.data, b.row, c, c_row, store);
  }

  // Rows [count, width] of an input; in memory [count, width] if they have to be converted.
  static View<float> input(const Rows& x, std::int64_t b, std::int64_t h, std::int64_t begin, std::int64_t count,
                           std::int64_t width, float* memory) {
    if (x.element == Element::kFloat32) return {x.at<float>(b, h, begin), x.row};
    for (std::int64_t i = 0; i < count; ++i) convert_row(x.at<std::uint16_t>(b, h, begin + i), width, memory + i * width);
    return {memory, width};
  }
  // fp32 rows as a left side; memory [count, width rounded up to even].
  static View<float> left(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, float* memory) {
    return {x, row};
  }
  // Rows [count, width] transposed as a left side [width, count]; memory and scratch of as many numbers, count rounded up to
  // even.
  static View<float> left_transposed(View<float> rows, std::int64_t count, std::int64_t width, float* memory, float* scratch) {
    return {rows.data, 1, rows.row};
  }
  static View<float> left_transposed_of_fp32(View<float> rows, std::int64_t count, std::int64_t width, float* memory,
                                             float* scratch) {
    return {rows.data, 1, rows.row};
  }
  // A right side's part from (row, column) on; `row` a multiple of kPair.
  static View<float> part(View<float> right, std::int64_t row, std::int64_t column) { return right.from(row, column); }
  // Rows as a right side [count, width]; memory of as many numbers, count rounded up to even.
  static View<float> right(View<float> rows, std::int64_t count, std::int64_t width, float* memory) { return rows; }
  static View<float> right_of_fp32(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, float* memory) {
    return {x, row};
  }
  // Rows [count, width] transposed as a right side [width, columns], zeros from column `count` on.
  static View<float> right_transposed(View<float> rows, std::int64_t count, std::int64_t width, std::int64_t columns,
                                      float* memory) {
    if (count < columns) std::memset(memory, 0, sizeof(float) * static_cast<std::size_t>(width * columns));
    transpose(count, width, rows.data, rows.row, memory, columns);
    return {memory, columns};
  }
};

#undef HEDGEHOG_HAS_HALF_MATH
#undef HEDGEHOG_HAS_HALF_MATH
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
#define HEDGEHOG_HAS_HALF_MATH 1
#else
#define HEDGEHOG_HAS_HALF_MATH 0
#endif

#if HEDGEHOG_HAS_HALF_MATH
struct HalfMath {
  using Number = std::uint16_t;
  static constexpr std::int64_t kPair = 2;

  static void product(std::int64_t m, std::int64_t n, std::int64_t k, View<Number> a, View<Number> b, float* c,
                      std::int64_t c_row, Store store) {
    if (m <= 0 || n <= 0) return;
    product_bf16(m, n, (k + 1) / 2, a.data, a.row, reinterpret_cast<const std::uint32_t*>(b.data), b.row, c, c_row,
                 store == Store::kAdd);
  }

  static View<Number> input(const Rows& x, std::int64_t b, std::int64_t h, std::int64_t begin, std::int64_t count,
                            std::int64_t width, Number* memory) {
    if (width % 2 == 0 && x.row % 2 == 0) return {x.at<Number>(b, h, begin), x.row};
    for (std::int64_t i = 0; i < count; ++i) {
      std::memcpy(memory + i * even(width), x.at<Number>(b, h, begin + i), sizeof(Number) * static_cast<std::size_t>(width));
      if (width % 2 != 0) memory[i * even(width) + width] = 0;
    }
    return {memory, even(width)};
  }

  static View<Number> left(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, Number* memory) {
    for (std::int64_t i = 0; i < count; ++i) {
      convert_row(x + i * row, width, memory + i * even(width));
      if (width % 2 != 0) memory[i * even(width) + width] = 0;
    }
    return {memory, even(width)};
  }

  // Pairs of rows are words; the words transposed are the left side's rows.
  static View<Number> left_transposed(View<Number> rows, std::int64_t count, std::int64_t width, Number* memory,
                                      Number* scratch) {
    zip(count, width, rows.data, rows.row, scratch);
    return transposed_words(count, width, scratch, memory);
  }
  static View<Number> left_transposed_of_fp32(View<float> rows, std::int64_t count, std::int64_t width, Number* memory,
                                              Number* scratch) {
    zip(count, width, rows.data, rows.row, scratch);
    return transposed_words(count, width, scratch, memory);
  }
  static View<Number> part(View<Number> right, std::int64_t row, std::int64_t column) {
    return {right.data + row * right.row + 2 * column, right.row};
  }

  static View<Number> right(View<Number> rows, std::int64_t count, std::int64_t width, Number* memory) {
    zip(count, width, rows.data, rows.row, memory);
    return {memory, width};
  }
  static View<Number> right_of_fp32(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, Number* memory) {
    zip(count, width, x, row, memory);
    return {memory, width};
  }

  static View<Number> right_transposed(View<Number> rows, std::int64_t count, std::int64_t width, std::int64_t columns,
                                       Number* memory) {
    // A pair is moved as one number.
    return {reinterpret_cast<const Number*>(
                FullMath::right_transposed({reinterpret_cast<const float*>(rows.data), rows.row / 2}, count, even(width) / 2,
                                           columns, reinterpret_cast<float*>(memory))
                    .data),
            columns};
  }

 private:
  using Words = hn::ScalableTag<std::uint32_t>;

  static View<Number> transposed_words(std::int64_t count, std::int64_t width, const Number* words, Number* memory) {
    const std::int64_t pairs = even(count) / 2;
    transpose(pairs, width, reinterpret_cast<const float*>(words), width, reinterpret_cast<float*>(memory), pairs);
    return {memory, 2 * pairs};
  }

  // bf16 in the low half of each word.
  static HWY_INLINE hn::Vec<Words> low_halves(const std::uint16_t* x) {
    const Words d;
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<std::uint16_t, Words>(), x));
  }
  static HWY_INLINE hn::Vec<Words> low_halves(const float* x) {
    const Words d;
    const auto bits = hn::LoadU(d, reinterpret_cast<const std::uint32_t*>(x));
    const auto last = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
    return hn::ShiftRight<16>(hn::Add(bits, hn::Add(last, hn::Set(d, 0x7FFFu))));
  }

  // Word n of row p: the numbers n of rows 2p and 2p + 1 (zero beyond the last).
  template <typename From>
  static void zip(std::int64_t count, std::int64_t width, const From* x, std::int64_t row, Number* to) {
    const Words d;
    const hn::CappedTag<float, 1> one;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t p = 0; 2 * p < count; ++p, to += 2 * width) {
      const From *first = x + 2 * p * row, *second = first + row;
      const bool whole = 2 * p + 1 < count;
      std::int64_t n = 0;
      for (; n + lanes <= width; n += lanes) {
        auto words = low_halves(first + n);
        if (whole) words = hn::Or(words, hn::ShiftLeft<16>(low_halves(second + n)));
        hn::StoreU(words, d, reinterpret_cast<std::uint32_t*>(to) + n);
      }
      for (; n < width; ++n) {
        store(load(one, first + n), one, to + 2 * n);
        if (whole) {
          store(load(one, second + n), one, to + 2 * n + 1);
        } else {
          to[2 * n + 1] = 0;
        }
      }
    }
  }
};
#endif

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
