// kernels/cpu/matvec against sums in fp64, with every instruction set that this machine has.
#include "hedgehog/kernels/cpu/matvec.h"

#include "hedgehog/base/random.h"
#include "tests/kernels/every_target.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace hedgehog::kernels {
namespace {

struct Problem {
  std::int64_t rows, outputs, inputs;
  std::vector<float> weight, x, bias;
  std::vector<std::uint16_t> weight16;  // weight is rounded to what these hold

  Problem(std::int64_t rows, std::int64_t outputs, std::int64_t inputs) : rows(rows), outputs(outputs), inputs(inputs) {
    Random random{7, 0};
    const auto draw = [&](std::int64_t count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& value : values) {
        value = static_cast<float>(2 * random.uniform() - 1);
      }
      return values;
    };
    weight = draw(outputs * inputs);
    x = draw(rows * inputs);
    bias = draw(outputs);
    for (float& value : weight) {
      weight16.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
      value = std::bit_cast<float>(static_cast<std::uint32_t>(weight16.back()) << 16);
    }
  }

  Matvec operation(Element type, bool with_bias, std::vector<float>& y) const {
    y.assign(static_cast<std::size_t>(rows * outputs), NAN);
    const void* matrix = type == Element::kFloat32 ? static_cast<const void*>(weight.data()) : weight16.data();
    return {matrix, type, x.data(), with_bias ? bias.data() : nullptr, y.data(), rows, outputs, inputs};
  }

  void expect_close(const std::vector<float>& y, bool with_bias) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t o = 0; o < outputs; ++o) {
        double sum = with_bias ? bias[static_cast<std::size_t>(o)] : 0, size = std::abs(sum);
        for (std::int64_t i = 0; i < inputs; ++i) {
          const double product = static_cast<double>(weight[static_cast<std::size_t>(o * inputs + i)]) *
                                 x[static_cast<std::size_t>(r * inputs + i)];
          sum += product;
          size += std::abs(product);
        }
        ASSERT_NEAR(y[static_cast<std::size_t>(r * outputs + o)], sum, 1e-6 * size + 1e-12)
            << rows << " rows, " << outputs << "x" << inputs << ", row " << r << ", output " << o;
      }
    }
  }
};

constexpr Element kTypes[] = {Element::kFloat32, Element::kBfloat16};

TEST(Matvec, EqualsSumsInDoublePrecision) {
  on_every_target([] {
    for (std::int64_t rows = 1; rows <= kMatvecRows; ++rows) {
      for (const std::int64_t outputs : {1, 2, 3, 4, 5, 7, 12}) {
        for (const std::int64_t inputs : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100}) {
          const Problem problem(rows, outputs, inputs);
          for (const Element type : kTypes) {
            for (const bool with_bias : {false, true}) {
              std::vector<float> y;
              matvec(problem.operation(type, with_bias, y), 0, outputs);
              problem.expect_close(y, with_bias);
            }
          }
        }
      }
    }
  });
}

TEST(Matvec, PartsAndRowsChangeNoBit) {
  on_every_target([] {
    const Problem all(4, 23, 71);
    for (const Element type : kTypes) {
      std::vector<float> whole, parts;
      matvec(all.operation(type, true, whole), 0, 23);
      const Matvec split = all.operation(type, true, parts);
      for (const auto& [first, last] : {std::pair{9, 23}, {0, 1}, {1, 6}, {6, 9}}) {
        matvec(split, first, last);
      }
      EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0);

      for (std::int64_t row = 0; row < 4; ++row) {
        Problem one = all;
        one.rows = 1;
        one.x.assign(all.x.begin() + row * 71, all.x.begin() + (row + 1) * 71);
        std::vector<float> y;
        matvec(one.operation(type, true, y), 0, 23);
        EXPECT_EQ(std::memcmp(whole.data() + row * 23, y.data(), 23 * sizeof(float)), 0) << "row " << row;
      }
    }
  });
}

TEST(Matvec, WritesOnlyItsOutputs) {
  on_every_target([] {
    const Problem problem(3, 10, 20);
    std::vector<float> y;
    matvec(problem.operation(Element::kFloat32, false, y), 4, 9);
    for (std::size_t i = 0; i < y.size(); ++i) {
      EXPECT_EQ(std::isnan(y[i]), i % 10 < 4 || i % 10 >= 9) << i;
    }
  });
}

TEST(Matvec, NamesItsTarget) {
  EXPECT_STRNE(matvec_target(), "");
}

}  // namespace
}  // namespace hedgehog::kernels
