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
#include "hedgehog/kernels/cpu/instruction_set.h"
#include "hedgehog/kernels/cpu/product_amx.h"
#include "hedgehog/kernels/cpu/product_bf16.h"
#include "hedgehog/kernels/cpu/row_block.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"

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

// The same rows as a right side [count, width], and transposed as a left side [width, count].
template <typename Number>
struct Sides {
  View<Number> right, left_transposed;
};

// The same rows as a left side and as a right side.
template <typename Number>
struct LeftAndRight {
  View<Number> left, right;
};

inline std::int64_t even(std::int64_t n) {
  return n + n % 2;
}

// The columns from j on that are before `seen`, of one vector.
HWY_INLINE hn::Mask<FloatTag> seen_columns(std::int64_t seen, std::int64_t j) {
  return hn::FirstN(FloatTag(), static_cast<std::size_t>(most(seen - j, 0)));
}

// Rows that share how far to the right of the diagonal they are computed.
constexpr std::int64_t kStepRows = 16;
// Keys that share from which row on they are seen.
constexpr std::int64_t kStepKeys = 32;
// The most columns of a causal tile.
constexpr std::int64_t kStripColumns = kChunkRows;

// The column up to which products over steps read row r of a causal tile whose first row sees `seen` columns.
inline std::int64_t read_columns(std::int64_t seen, std::int64_t r) {
  return most(seen - 1 + (r / kStepRows + 1) * kStepRows, (seen + r + kStepKeys - 1) / kStepKeys * kStepKeys);
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
  // One vector of a left side's row, of which `count` numbers exist.
  static HWY_INLINE void store(FloatVector value, float* to, std::int64_t count) {
    // A masked store takes some processors ten times as long as a whole one.
    store_row(value, to, hn::FirstN(FloatTag(), static_cast<std::size_t>(count)),
              count >= static_cast<std::int64_t>(hn::Lanes(FloatTag())));
  }
  // fp32 rows as a left side; memory [count, width rounded up to even].
  static View<float> left(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, float* memory) {
    return {x, row};
  }
  // Rows [count, width]; memory for both sides of as many numbers, count rounded up to even.
  static Sides<float> sides(View<float> rows, std::int64_t count, std::int64_t width, float* transposed_memory,
                            float* right_memory) {
    return {rows, {rows.data, 1, rows.row}};
  }
  // Rows [count, at most kStripColumns] of a causal tile, of which row r is taken up to column seen + r and zero behind, as far
  // as products over steps read it. shift[r] is added to what is seen, sums[r] gets its sum; either may be
  // null. The left side is made where left_memory is given, the right side where right_memory is.
  static LeftAndRight<float> causal(float* strip, std::int64_t row, std::int64_t count, std::int64_t seen, const float* shift,
                                    float* sums, float* left_memory, float* right_memory) {
    for (std::int64_t r = 0; r < count; ++r) {
      float* x = strip + r * row;
      const std::int64_t visible = seen + r;
      if (shift != nullptr) shift_row(x, visible, shift[r]);
      if (sums != nullptr) sums[r] = row_sum(x, visible);
      fill_row(0, read_columns(seen, r) - visible, x + visible);
    }
    return {{strip, row}, {strip, row}};
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

  static HWY_INLINE void store(FloatVector value, Number* to, std::int64_t count) {
    if (count >= kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves(value));
    } else {
      _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1u << count) - 1), halves(value));
    }
  }

  static View<Number> left(const float* x, std::int64_t row, std::int64_t count, std::int64_t width, Number* memory) {
    for (std::int64_t i = 0; i < count; ++i) {
      Number* to = memory + i * even(width);
      over_row(width, [&](std::int64_t j, auto valid, bool whole) {
        store(load_row(x + i * row + j, valid, whole), to + j, width - j);
      });
      if (width % 2 != 0) to[width] = 0;
    }
    return {memory, even(width)};
  }

  // Pairs of rows are words; the words transposed are the left side's rows.
  template <typename From>
  static Sides<Number> sides(View<From> rows, std::int64_t count, std::int64_t width, Number* transposed_memory,
                             Number* right_memory) {
    zip(count, width, rows.data, rows.row, right_memory);
    return {{right_memory, width}, transposed_words(count, width, right_memory, transposed_memory)};
  }

  static LeftAndRight<Number> causal(const float* strip, std::int64_t row, std::int64_t count, std::int64_t seen,
                                     const float* shift, float* sums, Number* left_memory, Number* right_memory) {
    const FloatTag d;
    constexpr std::int64_t kRow = kStripColumns;
    for (std::int64_t r = 0; r < count; r += 2) {
      const bool whole = r + 1 < count;
      const float *first = strip + r * row, *second = whole ? first + row : first;
      const std::int64_t first_seen = seen + r, second_seen = whole ? first_seen + 1 : 0;
      const auto first_shift = hn::Set(d, shift == nullptr ? 0 : shift[r]);
      const auto second_shift = hn::Set(d, shift == nullptr || !whole ? 0 : shift[r + 1]);
      auto first_sum = hn::Zero(d), second_sum = hn::Zero(d);
      const std::int64_t end = least(kRow, read_columns(seen, whole ? r + 1 : r));
      for (std::int64_t j = 0; j < end; j += kLanes) {
        const auto x = hn::IfThenElseZero(seen_columns(first_seen, j), hn::Add(hn::LoadU(d, first + j), first_shift));
        const auto y = hn::IfThenElseZero(seen_columns(second_seen, j), hn::Add(hn::LoadU(d, second + j), second_shift));
        first_sum = hn::Add(first_sum, x);
        second_sum = hn::Add(second_sum, y);
        if (left_memory != nullptr) {
          store(x, left_memory + r * kRow + j, kLanes);
          if (whole) store(y, left_memory + (r + 1) * kRow + j, kLanes);
        }
        if (right_memory != nullptr) _mm512_storeu_si512(right_memory + r * kRow + 2 * j, words(x, y));
      }
      if (sums != nullptr) {
        sums[r] = sum_lanes(first_sum);
        if (whole) sums[r + 1] = sum_lanes(second_sum);
      }
    }
    return {{left_memory, kRow}, {right_memory, kRow}};
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
  static constexpr std::int64_t kLanes = 16;

  static View<Number> transposed_words(std::int64_t count, std::int64_t width, const Number* words, Number* memory) {
    const std::int64_t pairs = even(count) / 2;
    transpose(pairs, width, reinterpret_cast<const float*>(words), width, reinterpret_cast<float*>(memory), pairs);
    return {memory, 2 * pairs};
  }

  // The processor's own rounding (denormals become zero). Not by intrinsics: Highway's targets lack the instruction's name, and
  // takes_half() keeps this code from running where the processor lacks it.
  static HWY_INLINE __m256i halves(FloatVector value) {
    __m256i result;
    asm("vcvtneps2bf16 %1, %0" : "=v"(result) : "v"(value.raw));
    return result;
  }

  // `low` in the low halves of 16 words, `high` in the high ones.
  static HWY_INLINE __m512i interleaved(__m512i low_then_high) {
    alignas(64) static constexpr std::uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), low_then_high);
  }
  static HWY_INLINE __m512i words(FloatVector low, FloatVector high) {
    __m512i both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(low.raw), "v"(high.raw));
    return interleaved(both);
  }
  static HWY_INLINE __m512i words(const float* low, const float* high) {
    const FloatTag d;
    return words(hn::LoadU(d, low), high == nullptr ? hn::Zero(d) : hn::LoadU(d, high));
  }
  static HWY_INLINE __m512i words(const Number* low, const Number* high) {
    const auto row = [](const Number* x) {
      return x == nullptr ? _mm256_setzero_si256() : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    };
    return interleaved(_mm512_inserti64x4(_mm512_castsi256_si512(row(low)), row(high), 1));
  }

  // Word n of row p: the numbers n of rows 2p and 2p + 1 (zero beyond the last).
  template <typename From>
  static void zip(std::int64_t count, std::int64_t width, const From* x, std::int64_t row, Number* to) {
    const hn::CappedTag<float, 1> one;
    for (std::int64_t p = 0; 2 * p < count; ++p, to += 2 * width) {
      const From *first = x + 2 * p * row, *second = first + row;
      const bool whole = 2 * p + 1 < count;
      std::int64_t n = 0;
      for (; n + kLanes <= width; n += kLanes) _mm512_storeu_si512(to + 2 * n, words(first + n, whole ? second + n : nullptr));
      for (; n < width; ++n) {
        HWY_NAMESPACE::store(load(one, first + n), one, to + 2 * n);
        if (whole) {
          HWY_NAMESPACE::store(load(one, second + n), one, to + 2 * n + 1);
        } else {
          to[2 * n + 1] = 0;
        }
      }
    }
  }
};
#endif

// bf16 inputs where the chosen instruction set multiplies them; all else is fp32.
inline bool takes_half(const Rows& k) {
  return HEDGEHOG_HAS_HALF_MATH != 0 && k.element == Element::kBfloat16 &&
         chosen_instruction_set() >= InstructionSet::kAvx512Bf16;
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
