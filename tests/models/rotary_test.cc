// The rotation: its definition by complex numbers, its gradient, frequencies of each scaling on points that are known by hand.
// Against the reference library every scaling is tested through logits in llama_test.cc.
#include "hedgehog/models/rotary.h"

#include "hedgehog/base/error.h"
#include "model_support.h"

#include <cmath>

namespace hedgehog {
namespace {

using testing::random_normal;
using testing::relative_difference;

at::Tensor rotated_by_hand(const at::Tensor& x, const RotaryTable& table) {
  const std::int64_t half = x.size(3) / 2;
  const at::Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
  const at::Tensor cos = table.cos.dim() == 3 ? table.cos.unsqueeze(1) : table.cos;
  const at::Tensor sin = table.sin.dim() == 3 ? table.sin.unsqueeze(1) : table.sin;
  const at::Tensor c = cos.narrow(-1, 0, half), s = sin.narrow(-1, 0, half);
  return at::cat({a * c - b * s, b * c + a * s}, 3);
}

TEST(RotaryTest, RotatesPairsAndBackwardIsTheInverse) {
  for (const std::int64_t dim : {2, 6, 16, 20, 64}) {
    SCOPED_TRACE(dim);
    const RotaryTable table = rotary_table({}, dim, at::arange(9));
    // As a projection gives it: [batch, length, heads, dim] seen as [batch, heads, length, dim].
    at::Tensor x = random_normal({2, 9, 3, dim}, 1).transpose(1, 2).requires_grad_(true);
    at::Tensor reference = x.detach().to(at::kDouble).requires_grad_(true);
    const at::Tensor y = apply_rotary(x, table), expected = rotated_by_hand(reference, table);
    EXPECT_LE(relative_difference(y.detach(), expected.detach()), 1e-6);
    const at::Tensor g = random_normal(y.sizes(), 2);
    y.backward(g);
    expected.backward(g.to(at::kDouble));
    EXPECT_LE(relative_difference(x.grad(), reference.grad()), 1e-6);
  }
}

TEST(RotaryTest, Bf16IsFp32RoundedOnce) {
  const RotaryTable table = rotary_table({}, 20, at::arange(9));
  at::Tensor x = random_normal({2, 3, 9, 20}, 1).to(at::kBFloat16).requires_grad_(true);
  at::Tensor wide = x.detach().to(at::kFloat).requires_grad_(true);
  const at::Tensor y = apply_rotary(x, table), expected = apply_rotary(wide, table);
  EXPECT_TRUE(at::equal(y, expected.to(at::kBFloat16)));
  const at::Tensor g = random_normal(y.sizes(), 2).to(at::kBFloat16);
  y.backward(g);
  expected.backward(g.to(at::kFloat));
  EXPECT_TRUE(at::equal(x.grad(), wide.grad().to(at::kBFloat16)));
}

TEST(RotaryTest, GradientThatIsExpandedOrTransposed) {
  const RotaryTable table = rotary_table({}, 8, at::arange(5));
  at::Tensor x = random_normal({1, 2, 5, 8}, 1).requires_grad_(true), z = x.detach().clone().requires_grad_(true);
  apply_rotary(x, table).sum().backward();
  rotated_by_hand(z, table).sum().backward();
  EXPECT_LE(relative_difference(x.grad(), z.grad()), 1e-6);
}

TEST(RotaryTest, TableForEachRowOfABatch) {
  const at::Tensor positions = at::tensor({0, 1, 2, 0, 5, 6, 7, 8}, at::kLong).view({2, 4});
  const RotaryTable table = rotary_table({}, 8, positions);
  const at::Tensor x = random_normal({2, 3, 4, 8}, 1), y = apply_rotary(x, table);
  EXPECT_LE(relative_difference(y, rotated_by_hand(x, table)), 1e-6);
  for (std::int64_t b = 0; b < 2; ++b) {
    const at::Tensor one = apply_rotary(x.narrow(0, b, 1), rotary_table({}, 8, positions[b]));
    EXPECT_TRUE(at::equal(one, y.narrow(0, b, 1)));
  }
  EXPECT_THROW(apply_rotary(x.narrow(2, 0, 3), table), Error);
}

TEST(RotaryTest, LinearScalingStretchesPositions) {
  RotaryConfig config;
  config.scaling = "linear";
  config.factor = 4;
  const RotaryTable stretched = rotary_table(config, 16, at::arange(0, 40, 4)), plain = rotary_table({}, 16, at::arange(10));
  EXPECT_LE(relative_difference(stretched.cos, plain.cos), 1e-6);
}

TEST(RotaryTest, Llama3LeavesShortWavesAndStretchesLongOnes) {
  RotaryConfig config;
  config.scaling = "llama3";
  config.theta = 500000;
  config.factor = 8;
  config.original_max_positions = 8192;
  RotaryConfig unscaled;
  unscaled.theta = config.theta;
  const at::Tensor one = at::ones({1}, at::kLong);
  const at::Tensor angle = rotary_table(config, 128, one).sin.asin(), plain = rotary_table(unscaled, 128, one).sin.asin();
  EXPECT_NEAR(angle[0][1].item<double>() / plain[0][1].item<double>(), 1, 1e-6);
  EXPECT_NEAR(angle[0][63].item<double>() / plain[0][63].item<double>(), 1.0 / 8, 1e-6);
}

TEST(RotaryTest, YarnScalesTheTableByItsAttentionFactor) {
  RotaryConfig config;
  config.scaling = "yarn";
  config.factor = 4;
  config.original_max_positions = 64;
  const double expected = 0.1 * std::log(4.0) + 1;
  EXPECT_NEAR(rotary_table(config, 16, at::zeros({1}, at::kLong)).cos[0][0].item<double>(), expected, 1e-6);
  config.attention_factor = 0.5;
  EXPECT_NEAR(rotary_table(config, 16, at::zeros({1}, at::kLong)).cos[0][0].item<double>(), 0.5, 1e-6);
}

TEST(RotaryTest, DivisorsDivideEachFrequency) {
  RotaryConfig config;
  config.scaling = "longrope";
  config.frequency_divisors = {1, 2, 4, 8};
  const at::Tensor one = at::ones({1}, at::kLong);
  const at::Tensor angle = rotary_table(config, 8, one).sin.asin(), plain = rotary_table({}, 8, one).sin.asin();
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(plain[0][i].item<double>() / angle[0][i].item<double>(), config.frequency_divisors[i], 1e-5);
  }
  config.frequency_divisors.pop_back();
  EXPECT_THROW(rotary_table(config, 8, one), Error);
}

}  // namespace
}  // namespace hedgehog
