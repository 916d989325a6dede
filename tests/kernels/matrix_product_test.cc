// kernels/cpu/matrix_product against sums in fp64, with every instruction set that this machine has.
#include "hedgehog/kernels/cpu/matrix_product.h"

#include "hedgehog/base/random.h"
#include "tests/kernels/every_target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace hedgehog::kernels {
namespace {

std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  Random random{seed, 0};
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(2 * random.uniform() - 1);
  return values;
}

/// Pieces one after the other, as many as `threads` would take.
ParallelFor in_pieces(std::int64_t threads) {
  return [threads](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
    const std::int64_t piece = std::max<std::int64_t>((count + threads - 1) / threads, 1);
    for (std::int64_t begin = 0; begin < count; begin += piece) body(begin, std::min(count, begin + piece));
  };
}

struct Problem {
  std::int64_t rows, columns, depth, margin;
  bool a_transposed, b_transposed;
  std::vector<float> a, b, c;

  Problem(std::int64_t rows, std::int64_t columns, std::int64_t depth, bool a_transposed, bool b_transposed)
      : rows(rows), columns(columns), depth(depth), margin(3), a_transposed(a_transposed), b_transposed(b_transposed) {
    a = numbers((rows + margin) * (depth + margin), 1);
    b = numbers((columns + margin) * (depth + margin), 2);
    c = numbers(rows * (columns + margin), 3);
  }

  MatrixProduct product(float* to, bool add) const {
    MatrixProduct m;
    m.rows = rows;
    m.columns = columns;
    m.depth = depth;
    m.a = a.data();
    m.a_row = a_transposed ? 1 : depth + margin;
    m.a_column = a_transposed ? rows + margin : 1;
    m.b = b.data();
    m.b_row = b_transposed ? 1 : columns + margin;
    m.b_column = b_transposed ? depth + margin : 1;
    m.c = to;
    m.c_row = columns + margin;
    m.add = add;
    return m;
  }

  std::vector<float> run(bool add, std::int64_t threads) const {
    std::vector<float> to = c;
    matrix_product(product(to.data(), add), threads, in_pieces(threads));
    return to;
  }

  void expect_close(const std::vector<float>& to, bool add) const {
    const MatrixProduct m = product(nullptr, add);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns + margin; ++j) {
        const float found = to[static_cast<std::size_t>(i * m.c_row + j)],
                    before = c[static_cast<std::size_t>(i * m.c_row + j)];
        if (j >= columns) {
          ASSERT_EQ(found, before) << "wrote beyond column " << columns;
          continue;
        }
        double sum = add ? before : 0, size = std::abs(sum);
        for (std::int64_t p = 0; p < depth; ++p) {
          const double term = static_cast<double>(m.a[i * m.a_row + p * m.a_column]) * m.b[p * m.b_row + j * m.b_column];
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(found, sum, 1e-6 * size + 1e-12) << rows << "x" << columns << "x" << depth << (a_transposed ? " Aᵀ" : "")
                                                     << (b_transposed ? " Bᵀ" : "") << " at " << i << ", " << j;
      }
    }
  }
};

TEST(MatrixProduct, EqualsSumsInDoublePrecision) {
  on_every_target([] {
    for (const bool a_transposed : {false, true}) {
      for (const bool b_transposed : {false, true}) {
        for (const std::int64_t rows : {1, 5, 6, 13, 100}) {
          for (const std::int64_t columns : {1, 7, 8, 16, 31, 130}) {
            for (const std::int64_t depth : {1, 3, 4, 30, 64}) {
              const Problem problem(rows, columns, depth, a_transposed, b_transposed);
              problem.expect_close(problem.run(depth == 30, 2), depth == 30);
            }
          }
        }
      }
    }
  });
}

TEST(MatrixProduct, LongSumsAreCutIntoBlocks) {
  on_every_target([] {
    for (const bool transposed : {false, true}) {
      for (const std::int64_t depth : {384, 385, 770}) {
        const Problem problem(8, 18, depth, transposed, !transposed);
        problem.expect_close(problem.run(transposed, 1), transposed);
      }
    }
  });
}

TEST(MatrixProduct, ThreadsChangeNoBit) {
  on_every_target([] {
    for (const std::int64_t columns : {20, 200, 700}) {
      const Problem problem(211, columns, 70, false, true);
      const std::vector<float> one = problem.run(false, 1);
      for (const std::int64_t threads : {2, 3, 16}) {
        const std::vector<float> many = problem.run(false, threads);
        EXPECT_EQ(std::memcmp(one.data(), many.data(), one.size() * sizeof(float)), 0) << columns << " columns, " << threads;
      }
    }
  });
}

TEST(MatrixProduct, OverwritesWhatIsNoNumber) {
  Problem problem(7, 9, 5, false, false);
  for (float& value : problem.c) value = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> to = problem.run(false, 1);
  for (std::int64_t i = 0; i < 7; ++i) {
    for (std::int64_t j = 0; j < 9; ++j) EXPECT_TRUE(std::isfinite(to[static_cast<std::size_t>(i * 12 + j)]));
  }
}

TEST(MatrixProduct, AnEmptySumIsZero) {
  const Problem problem(3, 4, 0, false, false);
  problem.expect_close(problem.run(false, 2), false);
  problem.expect_close(problem.run(true, 2), true);
  matrix_product(MatrixProduct(), 2, in_pieces(2));
}

}  // namespace
}  // namespace hedgehog::kernels
