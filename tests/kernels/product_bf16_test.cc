// kernels/cpu/product_bf16 and its tiles against sums in fp64. Where the processor has no tiles, their product runs on
// registers that are imitated here.
#include "hedgehog/kernels/cpu/product_bf16.h"

#include "hedgehog/base/random.h"
#include "hedgehog/kernels/cpu/instruction_set.h"
#include "hedgehog/kernels/cpu/product_amx.h"
#include "hedgehog/kernels/cpu/tile_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace hedgehog::kernels {
namespace {

float widen(std::uint16_t number) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(number) << 16);
}

// Eight registers as AMX defines them: products of even and odd numbers are summed apart, then added to C.
struct ImitatedTiles {
  static inline std::uint32_t registers[8][16][16];

  template <int kTile>
  static void load(const void* base, std::int64_t stride) {
    for (std::int64_t i = 0; i < 16; ++i) std::memcpy(registers[kTile][i], static_cast<const char*>(base) + i * stride, 64);
  }
  template <int kTile>
  static void store(void* base, std::int64_t stride) {
    for (std::int64_t i = 0; i < 16; ++i) std::memcpy(static_cast<char*>(base) + i * stride, registers[kTile][i], 64);
  }
  template <int kTile>
  static void zero() {
    std::memset(registers[kTile], 0, sizeof(registers[kTile]));
  }
  template <int kC, int kA, int kB>
  static void multiply() {
    static_assert(kC != kA && kC != kB && kA != kB, "the processor refuses this");
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 16; ++n) {
        float sums[2] = {};
        for (int k = 0; k < 16; ++k) {
          for (int half = 0; half < 2; ++half) {
            const auto left = static_cast<std::uint16_t>(registers[kA][m][k] >> (16 * half));
            const auto right = static_cast<std::uint16_t>(registers[kB][k][n] >> (16 * half));
            sums[half] = std::fma(widen(left), widen(right), sums[half]);
          }
        }
        std::uint32_t& c = registers[kC][m][n];
        c = std::bit_cast<std::uint32_t>(std::bit_cast<float>(c) + (sums[0] + sums[1]));
      }
    }
  }
};

// Operands whose rows are longer than what they hold; what lies between is NaN.
struct SpacedProduct {
  std::int64_t m, n, pairs, a_row, b_row, c_row;
  bool add;
  std::vector<std::uint16_t> a;
  std::vector<std::uint32_t> b;
  std::vector<float> c;

  SpacedProduct(std::int64_t m, std::int64_t n, std::int64_t pairs, std::int64_t gap, bool add)
      : m(m), n(n), pairs(pairs), a_row(2 * (pairs + gap)), b_row(n + gap), c_row(n + gap), add(add) {
    constexpr std::uint16_t kNotANumber = 0x7FC0;
    a.assign(static_cast<std::size_t>(m * a_row), kNotANumber);
    b.assign(static_cast<std::size_t>(pairs * b_row), kNotANumber << 16 | kNotANumber);
    c.assign(static_cast<std::size_t>(m * c_row), std::numeric_limits<float>::quiet_NaN());
    Random random{11, 0};
    const auto draw = [&] { return static_cast<float>(2 * random.uniform() - 1); };
    const auto draw_bf16 = [&] { return std::bit_cast<std::uint32_t>(draw()) >> 16; };
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t k = 0; k < 2 * pairs; ++k) {
        a[static_cast<std::size_t>(i * a_row + k)] = static_cast<std::uint16_t>(draw_bf16());
      }
      for (std::int64_t j = 0; add && j < n; ++j) c[static_cast<std::size_t>(i * c_row + j)] = draw();
    }
    for (std::int64_t p = 0; p < pairs; ++p) {
      for (std::int64_t j = 0; j < n; ++j) {
        b[static_cast<std::size_t>(p * b_row + j)] = draw_bf16() | draw_bf16() << 16;
      }
    }
  }

  std::vector<float> by(void (*product)(const SpacedProduct&, float*)) const {
    std::vector<float> found = c;
    product(*this, found.data());
    return found;
  }

  void expect_close(const std::vector<float>& found) const {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < c_row; ++j) {
        const float value = found[static_cast<std::size_t>(i * c_row + j)];
        if (j >= n) {
          ASSERT_TRUE(std::isnan(value)) << "written behind row " << i;
          continue;
        }
        double sum = add ? c[static_cast<std::size_t>(i * c_row + j)] : 0, size = std::abs(sum);
        for (std::int64_t k = 0; k < 2 * pairs; ++k) {
          const std::uint32_t word = b[static_cast<std::size_t>(k / 2 * b_row + j)];
          const double term = static_cast<double>(widen(a[static_cast<std::size_t>(i * a_row + k)])) *
                              widen(static_cast<std::uint16_t>(word >> (k % 2 * 16)));
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(value, sum, 2e-6 * size + 1e-12)
            << m << " x " << n << ", " << pairs << " pairs, row " << i << ", column " << j << (add ? ", added" : "");
      }
    }
  }
};

void by_plain_sums(const Bf16Product& x) {
  for (std::int64_t i = 0; i < x.m; ++i) {
    for (std::int64_t j = 0; j < x.n; ++j) {
      float sum = x.add ? x.c[i * x.c_row + j] : 0;
      for (std::int64_t k = 0; k < 2 * x.pairs; ++k) {
        const std::uint32_t word = x.b[k / 2 * x.b_row + j];
        sum += widen(x.a[i * x.a_row + k]) * widen(static_cast<std::uint16_t>(word >> (k % 2 * 16)));
      }
      x.c[i * x.c_row + j] = sum;
    }
  }
}

void by_imitated_tiles(const SpacedProduct& x, float* c) {
  product_by_tiles<ImitatedTiles>({x.m, x.n, x.pairs, x.a.data(), x.a_row, x.b.data(), x.b_row, c, x.c_row, x.add},
                                  by_plain_sums);
}

void by_product_bf16(const SpacedProduct& x, float* c) {
  product_bf16(x.m, x.n, x.pairs, x.a.data(), x.a_row, x.b.data(), x.b_row, c, x.c_row, x.add);
}

TEST(TileProduct, EqualsSumsInDoublePrecision) {
  for (const std::int64_t m : {1, 16, 17, 32, 48, 64, 70}) {
    for (const std::int64_t n : {7, 16, 32, 33, 48, 64, 80, 112, 128}) {
      for (const std::int64_t pairs : {0, 1, 8, 15, 16, 17, 24, 32, 33, 70}) {
        for (const bool add : {false, true}) {
          const SpacedProduct problem(m, n, pairs, (m + n + pairs) % 3, add);
          problem.expect_close(problem.by(by_imitated_tiles));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(TileProduct, SumsAnElementInOneOrderWhateverTheBlocks) {
  const SpacedProduct whole(80, 112, 39, 1, true);
  const std::vector<float> expected = whole.by(by_imitated_tiles);
  for (std::int64_t i = 0; i < whole.m; i += kTileSide) {
    for (std::int64_t j = 0; j < whole.n; j += kTileSide) {
      SpacedProduct tile = whole;
      tile.m = tile.n = kTileSide;
      tile.a.erase(tile.a.begin(), tile.a.begin() + i * whole.a_row);
      tile.b.erase(tile.b.begin(), tile.b.begin() + j);
      tile.c.erase(tile.c.begin(), tile.c.begin() + i * whole.c_row + j);
      const std::vector<float> found = tile.by(by_imitated_tiles);
      for (std::int64_t r = 0; r < kTileSide; ++r) {
        for (std::int64_t n = 0; n < kTileSide; ++n) {
          ASSERT_EQ(found[static_cast<std::size_t>(r * whole.c_row + n)],
                    expected[static_cast<std::size_t>((i + r) * whole.c_row + j + n)])
              << "tile at " << i << ", " << j << ", row " << r << ", column " << n;
        }
      }
    }
  }
}

// product_bf16 on each instruction set that has it, in a TileScope and out of one.
template <class Body>
void on_every_product(const Body& body) {
  const InstructionSet before = chosen_instruction_set();
  for (const InstructionSet set : instruction_sets()) {
    if (set < InstructionSet::kAvx512Bf16) continue;
    use_instruction_set(set);
    SCOPED_TRACE(name_of(set));
    EXPECT_FALSE(in_tile_scope());
    body();
    {
      const TileScope outer;
      { const TileScope inner; }
      EXPECT_EQ(in_tile_scope(), set == InstructionSet::kAmx);
      body();
    }
    EXPECT_FALSE(in_tile_scope());
  }
  use_instruction_set(before);
}

TEST(ProductBf16, EqualsSumsInDoublePrecision) {
  if (!has_bf16_products()) GTEST_SKIP() << "this processor has no bf16 products";
  on_every_product([] {
    for (const std::int64_t m : {1, 2, 5, 6, 13, 16, 17, 31, 33, 64, 70}) {
      for (const std::int64_t n : {1, 7, 16, 17, 33, 48, 64, 65, 70, 128}) {
        for (const std::int64_t pairs : {1, 2, 5, 8, 15, 16, 17, 31, 32, 64, 70}) {
          for (const bool add : {false, true}) {
            const SpacedProduct problem(m, n, pairs, (m + n + pairs) % 3, add);
            problem.expect_close(problem.by(by_product_bf16));
            if (::testing::Test::HasFatalFailure()) return;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace hedgehog::kernels
