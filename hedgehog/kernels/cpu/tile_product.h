// C (+)= A B of bf16 numbers in tile registers. A template over what the registers are, so that a test can run it where the
// processor has none. `Tiles` has eight, numbered by constants, of 16 rows of 64 bytes:
//   load<T>(base, stride)  row i of T from `base` + i · stride bytes, 64 bytes of it; store<T>(base, stride) the reverse
//   zero<T>()
//   multiply<C, A, B>()    C [16, 16] fp32 += A [16, 32] B [32, 16] of bf16 numbers, two rows of B side by side in words
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace hedgehog::kernels {

constexpr std::int64_t kTileSide = 16;  // rows of a tile, pairs in a row of A, columns of B and C

/// product_bf16's arguments.
struct Bf16Product {
  std::int64_t m, n, pairs;
  const std::uint16_t* a;
  std::int64_t a_row;
  const std::uint32_t* b;
  std::int64_t b_row;
  float* c;
  std::int64_t c_row;
  bool add;

  /// Those for C's part [rows, columns] from (i, j) on.
  Bf16Product part(std::int64_t i, std::int64_t j, std::int64_t rows, std::int64_t columns) const {
    return {rows, columns, pairs, a + i * a_row, a_row, b + j, b_row, c + i * c_row + j, c_row, add};
  }
};

/// m and n are multiples of kTileSide.
template <class Tiles>
class TileProduct {
 public:
  explicit TileProduct(const Bf16Product& product) : x_(product) {}

  void run() const {
    const std::int64_t m = x_.m, n = x_.n;
    std::int64_t i = 0;
    // Four tiles of C at a time, in a square where that is possible: it loads the fewest tiles of A and B.
    for (; i + 2 * kTileSide <= m; i += 2 * kTileSide) {
      std::int64_t j = 0;
      for (; j + 2 * kTileSide <= n; j += 2 * kTileSide) block<2, 2>(i, j);
      if (j < n) block<2, 1>(i, j);
    }
    if (i == m) return;
    std::int64_t j = 0;
    for (; j + 4 * kTileSide <= n; j += 4 * kTileSide) block<1, 4>(i, j);
    switch ((n - j) / kTileSide) {
      case 3:
        return block<1, 3>(i, j);
      case 2:
        return block<1, 2>(i, j);
      case 1:
        return block<1, 1>(i, j);
      default:
        return;
    }
  }

 private:
  // Tiles 0 to 3 hold C; A's rows use two and B's columns, in turns, two.
  static constexpr int kA = 4, kB = 6;
  static constexpr auto kWord = static_cast<std::int64_t>(sizeof(std::uint32_t));

  // Calls body.template operator()<n>() for n = 0 … kCount − 1.
  template <int kCount, class Body>
  static void repeat(const Body& body) {
    [&body]<int... kNumbers>(std::integer_sequence<int, kNumbers...>) {
      (body.template operator()<kNumbers>(), ...);
    }
    (std::make_integer_sequence<int, kCount>());
  }

  // kRows · kColumns tiles of C from (i, j) on.
  template <int kRows, int kColumns>
  void block(std::int64_t i, std::int64_t j) const {
    float* c = x_.c + i * x_.c_row + j;
    repeat<kRows * kColumns>([&]<int kC>() {
      if (x_.add) {
        Tiles::template load<kC>(c + kC / kColumns * kTileSide * x_.c_row + kC % kColumns * kTileSide, x_.c_row * kWord);
      } else {
        Tiles::template zero<kC>();
      }
    });
    const std::uint16_t* a = x_.a + i * x_.a_row;
    const std::uint32_t* b = x_.b + j;
    std::int64_t pairs = x_.pairs;
    for (; pairs >= kTileSide; pairs -= kTileSide) {
      step<kRows, kColumns>(a, x_.a_row, b, x_.b_row);
      a += 2 * kTileSide;
      b += kTileSide * x_.b_row;
    }
    if (pairs > 0) last_step<kRows, kColumns>(pairs, a, b);
    repeat<kRows * kColumns>([&]<int kC>() {
      Tiles::template store<kC>(c + kC / kColumns * kTileSide * x_.c_row + kC % kColumns * kTileSide, x_.c_row * kWord);
    });
  }

  // All tiles of C += one tile of A's columns times one of B's rows.
  template <int kRows, int kColumns>
  static void step(const std::uint16_t* a, std::int64_t a_row, const std::uint32_t* b, std::int64_t b_row) {
    repeat<kRows>([&]<int kRow>() { Tiles::template load<kA + kRow>(a + kRow * kTileSide * a_row, a_row * kWord / 2); });
    repeat<kColumns>([&]<int kColumn>() {
      constexpr int kRight = kB + kColumn % 2;
      Tiles::template load<kRight>(b + kColumn * kTileSide, b_row * kWord);
      repeat<kRows>([]<int kRow>() { Tiles::template multiply<kRow * kColumns + kColumn, kA + kRow, kRight>(); });
    });
  }

  // The same for fewer pairs than a tile has, from copies with zeros behind them: what lies there may be anything.
  template <int kRows, int kColumns>
  void last_step(std::int64_t pairs, const std::uint16_t* a, const std::uint32_t* b) const {
    alignas(64) std::uint16_t left[kRows * kTileSide][2 * kTileSide] = {};
    alignas(64) std::uint32_t right[kTileSide][kColumns * kTileSide] = {};
    for (std::int64_t r = 0; r < kRows * kTileSide; ++r) {
      std::memcpy(left[r], a + r * x_.a_row, static_cast<std::size_t>(pairs * kWord));
    }
    for (std::int64_t p = 0; p < pairs; ++p) std::memcpy(right[p], b + p * x_.b_row, sizeof(right[p]));
    step<kRows, kColumns>(left[0], 2 * kTileSide, right[0], kColumns * kTileSide);
  }

  Bf16Product x_;
};

/// Any m and n: whole tiles, and by rest(part) the columns to the right of them and the rows below.
template <class Tiles, class Rest>
void product_by_tiles(const Bf16Product& product, const Rest& rest) {
  const std::int64_t rows = product.m / kTileSide * kTileSide, columns = product.n / kTileSide * kTileSide;
  TileProduct<Tiles>(product.part(0, 0, rows, columns)).run();
  if (columns < product.n) rest(product.part(0, columns, rows, product.n - columns));
  if (rows < product.m) rest(product.part(rows, 0, product.m - rows, product.n));
}

}  // namespace hedgehog::kernels
