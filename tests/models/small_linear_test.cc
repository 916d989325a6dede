// models/small_linear against ATen in fp64.
#include "hedgehog/models/small_linear.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

void expect_equal_to_double(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double tolerance) {
  ASSERT_TRUE(takes_small_batch(x, weight, bias));
  const at::Tensor y = small_batch_linear(x, weight, bias);
  const at::Tensor expected =
      at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.defined() ? bias.to(at::kDouble) : at::Tensor());
  ASSERT_EQ(y.sizes(), expected.sizes());
  EXPECT_EQ(y.scalar_type(), x.scalar_type());
  EXPECT_LE(((y - expected).abs().max() / expected.abs().max()).item<double>(), tolerance);
}

TEST(SmallLinear, EqualsAtenInDoublePrecision) {
  const at::NoGradGuard no_gradients;
  at::manual_seed(1);
  for (const auto& [out, in] : {std::pair{1, 1}, {576, 576}, {192, 576}, {1000, 1536}, {4097, 64}, {3, 70000}}) {
    const at::Tensor weight = at::randn({out, in}), bias = at::randn({out});
    // Rounding grows with the length of the sum, and more in the four lanes without FMA of the baseline instruction set.
    const double fp32 = in > 10000 ? 5e-5 : 4e-6;
    for (int rows = 1; rows <= 4; ++rows) {
      const at::Tensor x = at::randn({rows, in});
      expect_equal_to_double(x, weight, {}, fp32);
      expect_equal_to_double(x, weight, bias, fp32);
      expect_equal_to_double(x, weight.to(at::kBFloat16), bias.to(at::kBFloat16), fp32);
      expect_equal_to_double(x.to(at::kBFloat16), weight.to(at::kBFloat16), bias.to(at::kBFloat16), 4e-3);
    }
  }
}

TEST(SmallLinear, TakesAnyShapeAndStrideOfX) {
  const at::NoGradGuard no_gradients;
  at::manual_seed(2);
  const at::Tensor weight = at::randn({50, 30});
  expect_equal_to_double(at::randn({30}), weight, {}, 1e-6);
  expect_equal_to_double(at::randn({2, 1, 2, 30}), weight, {}, 1e-6);
  expect_equal_to_double(at::randn({30, 3}).t(), weight, {}, 1e-6);
  expect_equal_to_double(at::randn({1, 100, 30}).narrow(1, 99, 1), weight, {}, 1e-6);
}

TEST(SmallLinear, ThreadsChangeNoBit) {
  const at::NoGradGuard no_gradients;
  at::manual_seed(3);
  const at::Tensor weight = at::randn({1003, 517}), x = at::randn({2, 517});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = small_batch_linear(x, weight);
  at::set_num_threads(3);
  const at::Tensor three = small_batch_linear(x, weight);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, three));
}

TEST(SmallLinear, LeavesToAtenWhatItCannotDo) {
  const at::Tensor weight = at::randn({8, 6}), x = at::randn({1, 6});
  EXPECT_FALSE(takes_small_batch(x, weight)) << "with gradients";
  const at::NoGradGuard no_gradients;
  EXPECT_TRUE(takes_small_batch(x, weight));
  EXPECT_FALSE(takes_small_batch(at::randn({5, 6}), weight)) << "five rows";
  EXPECT_FALSE(takes_small_batch(at::randn({0, 6}), weight)) << "no row";
  EXPECT_FALSE(takes_small_batch(at::randn({1, 7}), weight)) << "another width";
  EXPECT_FALSE(takes_small_batch(x.to(at::kDouble), weight)) << "fp64";
  EXPECT_FALSE(takes_small_batch(x, at::randn({6, 8}).t())) << "a transposed matrix";
  EXPECT_FALSE(takes_small_batch(x, weight, at::randn({7}))) << "another bias";
  EXPECT_THROW(small_batch_linear(at::randn({5, 6}), weight), Error);
}

}  // namespace
}  // namespace hedgehog
