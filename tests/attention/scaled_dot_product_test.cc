// Softmax attention with shared key heads and masks against its definition in fp64, and short rows of bf16 rounded but once.
#include "hedgehog/attention/scaled_dot_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hedgehog {
namespace {

at::Tensor by_definition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& seen) {
  const auto of_query_heads = [&](const at::Tensor& x) {
    return x.to(at::kDouble).repeat_interleave(q.size(1) / x.size(1), 1);
  };
  const at::Tensor scores =
      at::matmul(q.to(at::kDouble), of_query_heads(k).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(3)));
  return at::matmul(scores.masked_fill(seen.logical_not(), -INFINITY).softmax(-1), of_query_heads(v));
}

TEST(ScaledDotProduct, IsItsDefinition) {
  at::manual_seed(2);
  const std::int64_t length = 20;
  const at::Tensor q = at::randn({2, 6, length, 16}), triangle = at::ones({length, length}, at::kBool).tril();
  const at::Tensor seen = at::arange(length).lt(at::tensor({20, 7}).unsqueeze(1)).unsqueeze(1).unsqueeze(1);
  for (const std::int64_t heads : {6, 3}) {
    const at::Tensor k = at::randn({2, heads, length, 16}), v = at::randn({2, heads, length, 16});
    const auto difference = [](const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); };
    EXPECT_LE(difference(scaled_dot_product(q, k, v, {}, true), by_definition(q, k, v, triangle)), 1e-5) << heads;
    EXPECT_LE(difference(scaled_dot_product(q, k, v, seen, false), by_definition(q, k, v, seen)), 1e-5) << heads;
  }
}

TEST(ScaledDotProduct, ShortRowsOfBf16AreRoundedOnce) {
  at::manual_seed(3);
  const auto random = [] { return at::randn({1, 2, 30, 16}).to(at::kBFloat16); };
  const at::Tensor q = random(), k = random(), v = random();
  const auto wide = [](const at::Tensor& x) { return x.to(at::kFloat); };
  const at::Tensor y = scaled_dot_product(q, k, v, {}, true);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(y, scaled_dot_product(wide(q), wide(k), wide(v), {}, true).to(at::kBFloat16)));
}

}  // namespace
}  // namespace hedgehog
