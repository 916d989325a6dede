// Projections with LoRA: values and every gradient against the composed formula in fp64.
#include "hedgehog/models/linear.h"

#include "hedgehog/base/error.h"
#include "model_support.h"

#include <torch/csrc/autograd/autograd.h>

namespace hedgehog {
namespace {

using testing::random_normal;
using testing::relative_difference;

struct Case {
  bool bias, lora, trained;
};

Linear make_linear(std::int64_t out, std::int64_t in, const Case& kind, std::uint64_t seed) {
  Linear linear;
  linear.weight = random_normal({out, in}, seed);
  if (kind.bias) linear.bias = random_normal({out}, seed + 1);
  if (kind.lora) {
    linear.add_lora(3, 6, seed);
    const at::NoGradGuard no_gradients;
    linear.lora_b.copy_(random_normal({out, 3}, seed + 2));
  }
  if (kind.trained) {
    linear.weight.requires_grad_(true);
    if (kind.bias) linear.bias.requires_grad_(true);
  }
  return linear;
}

Linear in_fp64(const Linear& linear) {
  const auto copy = [](const at::Tensor& x) {
    return x.defined() ? x.detach().to(at::kDouble).requires_grad_(x.requires_grad()) : at::Tensor();
  };
  return {copy(linear.weight), copy(linear.bias), copy(linear.lora_a), copy(linear.lora_b), linear.lora_scale};
}

at::Tensor composed(const Linear& linear, const at::Tensor& x) {
  at::Tensor y = at::matmul(x, linear.weight.t());
  if (linear.bias.defined()) y = y + linear.bias;
  if (linear.lora_a.defined()) y = y + linear.lora_scale * at::matmul(at::matmul(x, linear.lora_a.t()), linear.lora_b.t());
  return y;
}

void expect_same_gradient(const at::Tensor& actual, const at::Tensor& expected) {
  if (!expected.defined() || !expected.requires_grad()) {
    EXPECT_FALSE(actual.defined() && actual.grad().defined());
    return;
  }
  ASSERT_TRUE(actual.grad().defined());
  EXPECT_LE(relative_difference(actual.grad(), expected.grad()), 2e-5);
}

TEST(LinearTest, ProjectEqualsComposedFormulaWithAllGradients) {
  for (int mask = 0; mask < 16; ++mask) {
    SCOPED_TRACE(mask);
    const Case kind{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
    const bool input_gradient = (mask & 8) != 0;
    if (!input_gradient && !kind.lora && !kind.trained) continue;
    const Linear a = make_linear(10, 12, kind, 1), b = make_linear(7, 12, {false, kind.lora, false}, 5);
    const Linear ar = in_fp64(a), br = in_fp64(b);
    const at::Tensor x = random_normal({2, 9, 12}, 9).requires_grad_(input_gradient);
    const at::Tensor xr = x.detach().to(at::kDouble).requires_grad_(input_gradient);
    const at::Tensor ga = random_normal({2, 9, 10}, 10), gb = random_normal({2, 9, 7}, 11);
    const std::vector<at::Tensor> y = project(x, {&a, &b});
    const at::Tensor ya = composed(ar, xr), yb = composed(br, xr);
    EXPECT_LE(relative_difference(y[0].detach(), ya.detach()), 1e-6);
    EXPECT_LE(relative_difference(y[1].detach(), yb.detach()), 1e-6);
    (((y[0] * ga).sum() + (y[1] * gb).sum())).backward();
    ((ya * ga).sum() + (yb * gb).sum()).backward();
    expect_same_gradient(x, xr);
    for (const auto& [mine, theirs] : {std::pair(&a, &ar), std::pair(&b, &br)}) {
      expect_same_gradient(mine->weight, theirs->weight);
      expect_same_gradient(mine->bias, theirs->bias);
      expect_same_gradient(mine->lora_a, theirs->lora_a);
      expect_same_gradient(mine->lora_b, theirs->lora_b);
    }
  }
}

TEST(LinearTest, OutputThatNobodyUsesGivesNoGradient) {
  const Linear a = make_linear(4, 6, {true, true, true}, 1), b = make_linear(5, 6, {false, true, false}, 2);
  const at::Tensor x = random_normal({3, 6}, 3).requires_grad_(true);
  project(x, {&a, &b})[0].sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_TRUE(!b.lora_b.grad().defined());
  EXPECT_TRUE(!b.lora_a.grad().defined() || b.lora_a.grad().abs().max().item<float>() == 0);
}

TEST(LinearTest, FrozenWeightsDontHoldTheInput) {
  const Linear frozen = make_linear(4, 6, {false, false, false}, 1);
  at::Tensor x = random_normal({3, 6}, 3).requires_grad_(true) * 2;
  const at::Tensor y = frozen.forward(x);
  // A view of the same storage that autograd saved would show here.
  EXPECT_EQ(x.storage().use_count(), 1);
}

TEST(LinearTest, WithoutGradientsOneRowEqualsMany) {
  const Linear linear = make_linear(10, 12, {true, true, false}, 1);
  const at::NoGradGuard no_gradients;
  const at::Tensor x = random_normal({20, 12}, 2), y = linear.forward(x);
  EXPECT_LE(relative_difference(linear.forward(x.narrow(0, 3, 1)), y.narrow(0, 3, 1)), 1e-5);
}

TEST(LinearTest, LoraStartsAsNothingAndIsSeeded) {
  Linear a = make_linear(8, 12, {false, false, false}, 1), b = a, c = a;
  a.add_lora(4, 16, 7);
  b.add_lora(4, 16, 7);
  c.add_lora(4, 16, 8);
  EXPECT_TRUE(at::equal(a.lora_a, b.lora_a));
  EXPECT_FALSE(at::equal(a.lora_a, c.lora_a));
  EXPECT_EQ(a.lora_scale, 4);
  EXPECT_LE(a.lora_a.abs().max().item<double>(), 1 / std::sqrt(12.0));
  const at::Tensor x = random_normal({5, 12}, 2);
  EXPECT_TRUE(at::equal(a.forward(x), at::mm(x, a.weight.t())));
  EXPECT_THROW(a.add_lora(0, 16, 1), Error);
  EXPECT_THROW(a.add_lora(9, 16, 1), Error);
}

TEST(LinearTest, MergedLoraEqualsSeparateOneAndLeavesTheOldWeight) {
  Linear linear = make_linear(10, 12, {true, true, false}, 1);
  const at::Tensor x = random_normal({5, 12}, 2), before = linear.forward(x), weight = linear.weight, copy = weight.clone();
  linear.merge_lora();
  EXPECT_FALSE(linear.lora_a.defined());
  EXPECT_LE(relative_difference(linear.forward(x), before), 1e-6);
  EXPECT_TRUE(at::equal(weight, copy));
}

TEST(LinearTest, LoraOverBf16WeightsKeepsFp32Gradients) {
  Linear linear = make_linear(10, 12, {false, true, false}, 1);
  const Linear reference = in_fp64(linear);
  linear.weight = linear.weight.to(at::kBFloat16);
  const at::Tensor x = random_normal({6, 12}, 2);
  const at::Tensor y = linear.forward(x.to(at::kBFloat16));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  y.sum().backward();
  composed(reference, x.to(at::kDouble)).sum().backward();
  EXPECT_EQ(linear.lora_a.grad().scalar_type(), at::kFloat);
  EXPECT_LE(relative_difference(linear.lora_a.grad(), reference.lora_a.grad()), 2e-2);
  EXPECT_LE(relative_difference(linear.lora_b.grad(), reference.lora_b.grad()), 2e-2);
}

}  // namespace
}  // namespace hedgehog
