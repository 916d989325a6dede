// RMSNorm and SwiGLU: values and gradients against the formulas in fp64, through autograd's own derivatives.
#include "hedgehog/models/fused.h"

#include "model_support.h"

#include <torch/csrc/autograd/autograd.h>

#include <limits>

namespace hedgehog {
namespace {

using testing::random_normal;
using testing::relative_difference;

at::Tensor reference_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * (x.square().mean(-1, true) + epsilon).rsqrt() * weight;
}

at::Tensor leaf(const at::Tensor& x, at::ScalarType dtype) {
  return x.to(dtype).detach().clone().requires_grad_(true);
}

// Whole vectors, remainders of every length, one element, more rows than one thread takes.
const std::vector<std::vector<std::int64_t>> kShapes{{2, 3, 64}, {5, 7}, {1, 1}, {3, 33}, {2, 700, 48}};

TEST(RmsNormTest, EqualsFormulaAndItsGradients) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(::testing::PrintToString(shape));
    const at::Tensor x0 = random_normal(shape, 1) * 3, w0 = random_normal({shape.back()}, 2), g = random_normal(shape, 3);
    at::Tensor x = leaf(x0, at::kFloat), w = leaf(w0, at::kFloat), xr = leaf(x0, at::kDouble), wr = leaf(w0, at::kDouble);
    const at::Tensor y = rms_norm(x, w, 1e-5), yr = reference_norm(xr, wr, 1e-5);
    y.backward(g);
    yr.backward(g.to(at::kDouble));
    EXPECT_LE(relative_difference(y.detach(), yr.detach()), 1e-6);
    // One element per row is all but independent of x, so that its gradient is rounding against 1/ε.
    if (shape.back() > 1) {
      EXPECT_LE(relative_difference(x.grad(), xr.grad()), 2e-6);
    }
    EXPECT_LE(relative_difference(w.grad(), wr.grad()), 2e-5);
  }
}

TEST(RmsNormTest, WithAdditionGivesSumAndBothGradients) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(::testing::PrintToString(shape));
    if (shape.back() == 1) continue;
    const at::Tensor x0 = random_normal(shape, 1), d0 = random_normal(shape, 4), w0 = random_normal({shape.back()}, 2);
    const at::Tensor g = random_normal(shape, 3), gs = random_normal(shape, 5);
    at::Tensor x = leaf(x0, at::kFloat), d = leaf(d0, at::kFloat), w = leaf(w0, at::kFloat);
    at::Tensor xr = leaf(x0, at::kDouble), dr = leaf(d0, at::kDouble), wr = leaf(w0, at::kDouble);
    const auto [sum, y] = add_rms_norm(x, d, w, 1e-5);
    const at::Tensor sumr = xr + dr, yr = reference_norm(sumr, wr, 1e-5);
    torch::autograd::backward({sum, y}, {gs, g});
    torch::autograd::backward({sumr, yr}, {gs.to(at::kDouble), g.to(at::kDouble)});
    EXPECT_TRUE(at::equal(sum, x0 + d0));
    EXPECT_LE(relative_difference(y.detach(), yr.detach()), 1e-6);
    EXPECT_LE(relative_difference(x.grad(), xr.grad()), 2e-6);
    EXPECT_LE(relative_difference(d.grad(), dr.grad()), 2e-6);
    EXPECT_LE(relative_difference(w.grad(), wr.grad()), 2e-5);
  }
}

TEST(RmsNormTest, GradientOfOneOutputOnly) {
  const at::Tensor x0 = random_normal({4, 16}, 1), w = random_normal({16}, 2), g = random_normal({4, 16}, 3);
  at::Tensor x = leaf(x0, at::kFloat);
  add_rms_norm(x, x0, w, 1e-5).first.backward(g);
  EXPECT_TRUE(at::equal(x.grad(), g));
  at::Tensor a = leaf(x0, at::kFloat), b = leaf(x0 * 2, at::kFloat);
  add_rms_norm(a, x0, w, 1e-5).second.backward(g);
  rms_norm(b, w, 1e-5).backward(g);
  EXPECT_LE(relative_difference(a.grad(), b.grad()), 1e-6);
}

TEST(RmsNormTest, LowPrecisionKeepsStatisticsInFp32) {
  const at::Tensor x = random_normal({4, 300}, 1).to(at::kBFloat16), w = at::ones({300}, at::kBFloat16);
  const at::Tensor y = rms_norm(x, w, 1e-5);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_LE(relative_difference(y, reference_norm(x.to(at::kDouble), w.to(at::kDouble), 1e-5)), 5e-3);
}

// bf16 is read, computed in fp32 and rounded once: the same bits as fp32's results rounded by LibTorch.
TEST(RmsNormTest, Bf16IsFp32RoundedOnce) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(::testing::PrintToString(shape));
    const at::Tensor x0 = random_normal(shape, 1).to(at::kBFloat16), d0 = random_normal(shape, 4).to(at::kBFloat16);
    const at::Tensor w = random_normal({shape.back()}, 2).to(at::kBFloat16), g = random_normal(shape, 3).to(at::kBFloat16);
    at::Tensor x = leaf(x0, at::kBFloat16), d = leaf(d0, at::kBFloat16);
    const auto [sum, y] = add_rms_norm(x, d, w, 1e-5);
    EXPECT_TRUE(at::equal(sum, (x0.to(at::kFloat) + d0.to(at::kFloat)).to(at::kBFloat16)));
    at::Tensor wide = leaf(sum, at::kFloat);
    const at::Tensor expected = rms_norm(wide, w.to(at::kFloat), 1e-5);
    EXPECT_TRUE(at::equal(y, expected.to(at::kBFloat16)));
    y.backward(g);
    expected.backward(g.to(at::kFloat));
    EXPECT_TRUE(at::equal(x.grad(), wide.grad().to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(x.grad(), d.grad()));
  }
}

TEST(SwigluTest, EqualsFormulaAndItsGradients) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(::testing::PrintToString(shape));
    const at::Tensor gate0 = random_normal(shape, 1) * 4, up0 = random_normal(shape, 2), g = random_normal(shape, 3);
    at::Tensor gate = leaf(gate0, at::kFloat), up = leaf(up0, at::kFloat);
    at::Tensor gater = leaf(gate0, at::kDouble), upr = leaf(up0, at::kDouble);
    const at::Tensor y = swiglu(gate, up), yr = gater * at::sigmoid(gater) * upr;
    y.backward(g);
    yr.backward(g.to(at::kDouble));
    EXPECT_LE(relative_difference(y.detach(), yr.detach()), 1e-6);
    EXPECT_LE(relative_difference(gate.grad(), gater.grad()), 1e-6);
    EXPECT_LE(relative_difference(up.grad(), upr.grad()), 1e-6);
  }
}

TEST(SwigluTest, Bf16IsFp32RoundedOnce) {
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(::testing::PrintToString(shape));
    const at::Tensor gate0 = (random_normal(shape, 1) * 4).to(at::kBFloat16), up0 = random_normal(shape, 2).to(at::kBFloat16);
    const at::Tensor g = random_normal(shape, 3).to(at::kBFloat16);
    at::Tensor gate = leaf(gate0, at::kBFloat16), up = leaf(up0, at::kBFloat16);
    at::Tensor wide_gate = leaf(gate0, at::kFloat), wide_up = leaf(up0, at::kFloat);
    const at::Tensor y = swiglu(gate, up), expected = swiglu(wide_gate, wide_up);
    EXPECT_TRUE(at::equal(y, expected.to(at::kBFloat16)));
    y.backward(g);
    expected.backward(g.to(at::kFloat));
    EXPECT_TRUE(at::equal(gate.grad(), wide_gate.grad().to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(up.grad(), wide_up.grad().to(at::kBFloat16)));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor up = at::tensor({nan, -nan, 1.0f}).to(at::kBFloat16);
  EXPECT_EQ(at::isnan(swiglu(at::ones_like(up), up)).sum().item<std::int64_t>(), 2);
}

TEST(SwigluTest, NoNanAtTheEndsOfTheRange) {
  const at::Tensor gate = at::tensor({-1e30f, -200.0f, -90.0f, 0.0f, 90.0f, 200.0f, 1e30f, -1.0f, 1.0f}).requires_grad_(true);
  const at::Tensor up = at::ones_like(gate);
  const at::Tensor y = swiglu(gate, up);
  y.sum().backward();
  EXPECT_TRUE(at::isfinite(y).all().item<bool>());
  EXPECT_TRUE(at::isfinite(gate.grad()).all().item<bool>());
  EXPECT_EQ(y[0].item<float>(), 0);
  EXPECT_EQ(y[5].item<float>(), 200);
}

}  // namespace
}  // namespace hedgehog
