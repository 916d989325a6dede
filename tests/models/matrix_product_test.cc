// models/matrix_product against ATen in fp64.
#include "hedgehog/models/matrix_product.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

void expect_close(const at::Tensor& found, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_LE(((found.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>(), tolerance);
}

TEST(MatrixProductOfTensors, EqualsAtenInDoublePrecision) {
  at::manual_seed(1);
  // Below 64 in any size ATen does it.
  for (const auto& [n, k, m] : {std::tuple{1, 70, 90}, {64, 64, 64}, {129, 576, 192}, {300, 77, 8}, {65, 1000, 333}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const double tolerance = dtype == at::kFloat ? 2e-6 : 1e-2;
      const auto a = at::randn({n, k}).to(dtype), b = at::randn({k, m}).to(dtype);
      const auto expected = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      expect_close(matrix_product(a, b), expected, tolerance);
      expect_close(matrix_product(a.t().contiguous().t(), b.t().contiguous().t()), expected, tolerance);
      const auto before = at::randn({n, m}).to(dtype);
      auto sum = before.clone();
      matrix_product_into(sum, a, b, true);
      expect_close(sum, expected + before.to(at::kDouble), tolerance);
    }
  }
}

TEST(MatrixProductOfTensors, TakesViewsWithOtherStrides) {
  at::manual_seed(2);
  const auto wide = at::randn({100, 300});
  const auto a = wide.slice(1, 10, 210, 2), b = at::randn({100, 80});  // no stride of a is 1
  expect_close(matrix_product(a, b), at::mm(a.to(at::kDouble), b.to(at::kDouble)), 2e-6);
  auto out = at::empty({100, 200}).narrow(1, 20, 80);
  matrix_product_into(out, wide.narrow(1, 30, 100), b, false);
  expect_close(out, at::mm(wide.narrow(1, 30, 100).to(at::kDouble), b.to(at::kDouble)), 2e-6);
}

}  // namespace
}  // namespace hedgehog
