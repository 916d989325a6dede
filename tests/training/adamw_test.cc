#include "hedgehog/training/adamw.h"

#include "hedgehog/base/error.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hedgehog {
namespace {

/// The paper's algorithm 2, plainly, in fp64.
struct PlainAdamW {
  at::Tensor x, m, v;
  double rate, decay;
  int steps = 0;
  PlainAdamW(const at::Tensor& start, double rate, double decay)
      : x(start.to(at::kDouble).clone()), m(at::zeros_like(x)), v(at::zeros_like(x)), rate(rate), decay(decay) {}
  void step(const at::Tensor& gradient, double factor) {
    const at::Tensor g = gradient.to(at::kDouble);
    ++steps;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(0.9, steps)), v_hat = v / (1 - std::pow(0.999, steps));
    x = x * (1 - rate * factor * decay) - rate * factor * m_hat / (v_hat.sqrt() + 1e-8);
  }
};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(AdamW, MatchesAPlainFp64One) {
  at::manual_seed(1);
  at::Tensor a = at::randn({7, 33}), b = at::randn({5});
  PlainAdamW plain_a(a, 1e-2, 0.1), plain_b(b, 3e-2, 0);
  AdamW optimizer;
  optimizer.add({{"a", &a}}, 1e-2, 0.1);
  optimizer.add({{"b", &b}}, 3e-2, 0);
  for (int step = 0; step < 20; ++step) {
    const double factor = 1 - step / 40.0;
    const at::Tensor ga = at::randn_like(a), gb = at::randn_like(b) * 1e-3;
    a.mutable_grad() = ga.clone();
    b.mutable_grad() = gb.clone();
    const double norm = std::sqrt((ga * ga).sum().item<double>() + (gb * gb).sum().item<double>());
    EXPECT_NEAR(optimizer.step(factor, 0), norm, 1e-5 * norm);
    plain_a.step(ga, factor);
    plain_b.step(gb, factor);
    EXPECT_FALSE(a.grad().defined());
  }
  EXPECT_LT(largest_difference(a, plain_a.x), 2e-6);
  EXPECT_LT(largest_difference(b, plain_b.x), 2e-6);
}

TEST(AdamW, ClipsTheNormOverAllParameters) {
  at::Tensor a = at::zeros({3}), b = at::zeros({4});
  AdamW optimizer;
  optimizer.add({{"a", &a}, {"b", &b}}, 0, 0);
  a.mutable_grad() = at::full({3}, 2.0f);
  b.mutable_grad() = at::full({4}, -1.0f);
  EXPECT_NEAR(optimizer.step(1, 2), 4, 1e-6);
  const NamedTensors state = optimizer.state();
  EXPECT_NEAR(state[0].second[0].item<double>(), 0.1 * 2 * 0.5, 1e-7);  // exp_avg of the halved gradient
  EXPECT_NEAR(state[2].second[0].item<double>(), -0.1 * 1 * 0.5, 1e-7);
}

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  at::Tensor a = at::ones({3});
  AdamW optimizer;
  optimizer.add({{"a", &a}}, 1, 0.5);
  optimizer.step(1, 1);
  EXPECT_TRUE(at::equal(a, at::ones({3})));
}

TEST(AdamW, Bf16ParametersHaveAnFp32Master) {
  at::manual_seed(2);
  at::Tensor a = at::randn({50}).to(at::kBFloat16).requires_grad_(true);
  PlainAdamW plain(a.detach(), 1e-4, 0);  // steps far below bf16's resolution
  AdamW optimizer;
  optimizer.add({{"a", &a}}, 1e-4, 0);
  for (int step = 0; step < 50; ++step) {
    at::Tensor sum = at::zeros({50}, at::kDouble);
    for (int part = 0; part < 2; ++part) {
      const at::Tensor gradient = at::ones({50}, at::kBFloat16) * (part == 0 ? 1 : 1.0 / 512);  // the sum is no bf16 number
      a.mutable_grad() = gradient.clone();
      sum += gradient.to(at::kDouble);
      optimizer.collect_gradients();
    }
    EXPECT_NEAR(optimizer.gradient_norm(), std::sqrt(50.0) * (1 + 1.0 / 512), 1e-4);
    optimizer.step(1, 0);
    plain.step(sum, 1);
  }
  const at::Tensor master = optimizer.state()[2].second;
  EXPECT_LT(largest_difference(master, plain.x), 2e-5);  // of a way of 5e-3
  EXPECT_TRUE(at::equal(a.detach(), master.to(at::kBFloat16)));
}

TEST(AdamW, GoesOnFromItsState) {
  const testing::TemporaryDirectory folder;
  at::manual_seed(4);
  std::vector<at::Tensor> gradients;
  for (int i = 0; i < 6; ++i) gradients.push_back(at::randn({4, 5}));
  const at::Tensor start = at::randn({4, 5});
  const auto steps = [&](AdamW& optimizer, at::Tensor& x, int from, int to) {
    for (int i = from; i < to; ++i) {
      x.mutable_grad() = gradients[static_cast<std::size_t>(i)].clone();
      optimizer.step(1, 1);
    }
  };
  at::Tensor whole = start.clone(), first = start.clone();
  AdamW one, two, three;
  one.add({{"x", &whole}}, 1e-2, 0.01);
  steps(one, whole, 0, 6);
  two.add({{"x", &first}}, 1e-2, 0.01);
  steps(two, first, 0, 3);
  write_safetensors(folder / "state.safetensors", two.state());
  at::Tensor second = first.clone();
  three.add({{"x", &second}}, 1e-2, 0.01);
  three.restore(SafetensorsFile(folder / "state.safetensors"));
  steps(three, second, 3, 6);
  EXPECT_TRUE(at::equal(second, whole));
  at::Tensor other = at::zeros({3});
  AdamW four;
  four.add({{"x", &other}}, 1, 0);
  EXPECT_THROW(four.restore(SafetensorsFile(folder / "state.safetensors")), Error);
}

TEST(AdamW, RefusesAGradientThatIsNotFinite) {
  at::Tensor a = at::zeros({2});
  AdamW optimizer;
  optimizer.add({{"a", &a}}, 1, 0);
  a.mutable_grad() = at::full({2}, NAN);
  EXPECT_THROW(optimizer.step(1, 0), Error);
}

}  // namespace
}  // namespace hedgehog
