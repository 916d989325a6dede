// kernels/cpu/linear_state: what packing may change, that it changes nothing on average, and that every instruction set packs
// to the same bits.
#include "hedgehog/kernels/cpu/linear_state.h"

#include "hedgehog/base/random.h"
#include "tests/kernels/every_target.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace hedgehog::kernels {
namespace {

constexpr StateElement kElements[] = {StateElement::kFloat32, StateElement::kBfloat16, StateElement::kInt8};

void one_thread(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  body(0, count);
}

struct Packed {
  AttentionShape shape;
  StateElement element;
  std::vector<std::uint8_t> s;
  std::vector<float> scale, z;

  Packed(const AttentionShape& shape, StateElement element, std::vector<float> unpacked, std::uint32_t seed)
      : shape(shape), element(element) {
    const auto rows = static_cast<std::size_t>(shape.batch * shape.kv_heads * shape.features);
    const std::size_t size = element == StateElement::kFloat32 ? 4 : element == StateElement::kBfloat16 ? 2 : 1;
    s.resize(rows * static_cast<std::size_t>(shape.dim) * size);
    scale.resize(rows);
    z.resize(rows);
    pack_state(unpacked.data(), shape, seed, state(), one_thread);
  }

  LinearState state() { return {s.data(), element, element == StateElement::kInt8 ? scale.data() : nullptr, z.data()}; }
  std::vector<float> unpacked() { return unpacked_state(state(), shape, one_thread); }
};

std::vector<float> random_state(const AttentionShape& shape, double size) {
  Random random{5, 0};
  std::vector<float> x(static_cast<std::size_t>(shape.batch * shape.kv_heads * shape.features * (shape.dim + 1)));
  for (float& value : x) value = static_cast<float>(size * (2 * random.uniform() - 1));
  return x;
}

// The step between neighbouring numbers that a value of this row is rounded to.
double unit(StateElement element, double value, double largest) {
  if (element == StateElement::kFloat32) return 0;
  if (element == StateElement::kInt8) return std::max(largest / 127 * (1 + 1e-6), 0x1p-110);
  return std::ldexp(1.0, std::max(-126, std::ilogb(value)) - 7);
}

AttentionShape shape_of(std::int64_t dim) {
  AttentionShape shape;
  shape.batch = 2;
  shape.heads = shape.kv_heads = 3;
  shape.features = 5;
  shape.dim = dim;
  return shape;
}

template <typename Body>
void for_each_number(const AttentionShape& shape, const std::vector<float>& x, const Body& body) {
  for (std::size_t begin = 0; begin < x.size(); begin += static_cast<std::size_t>(shape.dim + 1)) {
    float largest = 0;
    for (std::int64_t d = 0; d < shape.dim; ++d) largest = std::max(largest, std::abs(x[begin + static_cast<std::size_t>(d)]));
    for (std::int64_t d = 0; d < shape.dim; ++d) body(begin + static_cast<std::size_t>(d), largest);
  }
}

TEST(LinearState, RoundsToANeighbourAndKeepsTheNormaliser) {
  on_every_target([] {
    for (const std::int64_t dim : {1, 7, 16, 33, 64}) {
      for (const double size : {1.0, 1e30, 1e-30}) {
        const AttentionShape shape = shape_of(dim);
        const auto x = random_state(shape, size);
        for (const StateElement element : kElements) {
          const auto y = Packed(shape, element, x, 9).unpacked();
          for_each_number(shape, x, [&](std::size_t i, float largest) {
            ASSERT_LE(std::abs(y[i] - x[i]), unit(element, x[i], largest)) << dim << " " << size << " " << i;
          });
          for (std::size_t i = static_cast<std::size_t>(dim); i < x.size(); i += static_cast<std::size_t>(dim + 1)) {
            ASSERT_EQ(y[i], x[i]);
          }
        }
      }
    }
  });
}

TEST(LinearState, IsRightOnAverage) {
  const AttentionShape shape = shape_of(16);
  const auto x = random_state(shape, 1);
  constexpr int kSeeds = 2000;
  for (const StateElement element : {StateElement::kBfloat16, StateElement::kInt8}) {
    std::vector<double> sum(x.size());
    for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
      const auto y = Packed(shape, element, x, seed).unpacked();
      for (std::size_t i = 0; i < x.size(); ++i) sum[i] += y[i];
    }
    // Each rounding's standard deviation is at most half a unit.
    for_each_number(shape, x, [&](std::size_t i, float largest) {
      EXPECT_NEAR(sum[i] / kSeeds, x[i], 5 * unit(element, x[i], largest) / 2 / std::sqrt(double{kSeeds}) + 1e-4 * largest);
    });
  }
}

TEST(LinearState, NumbersOfOneCallAreRoundedIndependently) {
  // The mean product of two numbers' errors, of the same row, the same column and of neither.
  const AttentionShape shape = shape_of(16);
  const auto x = random_state(shape, 1);
  constexpr int kSeeds = 2000;
  const auto at = [](std::size_t f, std::size_t d) { return f * 17 + d; };
  for (const StateElement element : {StateElement::kBfloat16, StateElement::kInt8}) {
    double row = 0, column = 0, neither = 0, size = 0;
    for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
      const auto y = Packed(shape, element, x, seed).unpacked();
      const auto error = [&](std::size_t f, std::size_t d) { return static_cast<double>(y[at(f, d)]) - x[at(f, d)]; };
      row += error(1, 2) * error(1, 9);
      column += error(1, 2) * error(3, 2);
      neither += error(1, 2) * error(3, 9);
      size += (std::pow(error(1, 2), 2) + std::pow(error(1, 9), 2) + std::pow(error(3, 2), 2) + std::pow(error(3, 9), 2)) / 4;
    }
    for (const double product : {row, column, neither}) EXPECT_LE(std::abs(product), 5 * size / std::sqrt(double{kSeeds}));
  }
}

TEST(LinearState, IsTheSameOnEveryInstructionSet) {
  const AttentionShape shape = shape_of(37);
  const auto x = random_state(shape, 3);
  for (const StateElement element : kElements) {
    const Packed expected(shape, element, x, 4);
    on_every_target([&] {
      const Packed found(shape, element, x, 4);
      EXPECT_EQ(found.s, expected.s);
      EXPECT_EQ(found.scale, expected.scale);
    });
  }
}

TEST(LinearState, WhatIsPackedTwiceStaysTheSame) {
  const AttentionShape shape = shape_of(20);
  for (const StateElement element : {StateElement::kFloat32, StateElement::kBfloat16}) {
    const auto once = Packed(shape, element, random_state(shape, 3), 4).unpacked();
    EXPECT_EQ(Packed(shape, element, once, 5).unpacked(), once);
  }
}

TEST(LinearState, StaysFiniteOnExtremeNumbers) {
  on_every_target([] {
    const AttentionShape shape = shape_of(20);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const float size : {3.4e38f, 3.39e38f, 1e-38f, 1e-42f, 0.0f, kInfinity}) {
      auto x = random_state(shape, 1);
      for (float& value : x) value = value < 0 ? -size : size;
      for (const StateElement element : {StateElement::kBfloat16, StateElement::kInt8}) {
        Packed packed(shape, element, x, 4);
        const auto y = packed.unpacked();
        for_each_number(shape, x, [&](std::size_t i, float) {
          ASSERT_TRUE(std::isfinite(y[i])) << size;
          if (size == 0) {
            ASSERT_EQ(y[i], 0);
          } else if (size > 1 && std::isfinite(size)) {
            ASSERT_GT(y[i] / x[i], 0.85);
          }
        });
      }
    }
  });
}

TEST(LinearState, ThereMayBeNone) {
  EXPECT_TRUE(unpacked_state({}, shape_of(4), one_thread).empty());
}

}  // namespace
}  // namespace hedgehog::kernels
