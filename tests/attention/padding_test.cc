// The bidirectional form with padding (key_count): each sequence as if it stood alone, whatever the padding holds.
#include "hedgehog/attention/attention.h"
#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "tests/attention/random_input.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

namespace hedgehog {
namespace {

using testing::kDim;
using testing::kHeads;
using testing::kKeyHeads;
using testing::relative_error;

constexpr std::int64_t kLength = 40;
const std::vector<std::int64_t> kCounts = {40, 13, 1};
// Of those without weights the ones whose sums keep away from 0.
const std::vector<std::string> kMaps = {"hedgehog-softmax", "hedgehog-joint", "hedgehog-exp", "elu", "exp-1",
                                        "performer",        "taylor"};

std::vector<AttentionConfig> bidirectional_forms() {
  std::vector<AttentionConfig> forms = {{.causal = false}};
  for (const auto& map : kMaps) {
    forms.push_back({.kind = AttentionKind::kLinear, .feature_map = map, .causal = false});
  }
  return forms;
}

Attention perturbed(const AttentionConfig& config) {
  at::manual_seed(1);
  Attention attention(config, kHeads, kKeyHeads, kDim, kHeads * kDim);
  for (auto& [name, tensor] : attention.parameters()) tensor->add_(at::randn_like(*tensor) * 0.3);
  return attention;
}

// Three sequences of kCounts rows; `size` is that of the padding's numbers.
AttentionInput padded_rows(double size) {
  at::manual_seed(2);
  const auto batch = std::ssize(kCounts);
  AttentionInput input;
  input.q = at::randn({batch, kHeads, kLength, kDim});
  input.k = at::randn({batch, kKeyHeads, kLength, kDim});
  input.v = at::randn({batch, kKeyHeads, kLength, kDim});
  input.key_count = at::tensor(kCounts, at::kInt);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (auto* x : {&input.q, &input.k, &input.v}) x->select(0, b).slice(1, kCounts[b]).mul_(size);
  }
  return input;
}

AttentionInput alone(const AttentionInput& input, std::int64_t b) {
  const auto rows = [&](const at::Tensor& x) { return x.narrow(0, b, 1).slice(2, 0, kCounts[b]); };
  return {rows(input.q), rows(input.k), rows(input.v), {}, {}};
}

class Padding : public ::testing::TestWithParam<AttentionConfig> {};

TEST_P(Padding, EachSequenceIsAsIfAlone) {
  const auto attention = perturbed(GetParam());
  for (const double size : {1.0, 0.0, 1e3}) {
    const auto input = padded_rows(size);
    const auto found = attention.forward(input), by_features = attention_weights(attention, input, {0}).weights.to(at::kFloat);
    EXPECT_TRUE(at::isfinite(found).all().item<bool>()) << size;
    for (std::int64_t b = 0; b < std::ssize(kCounts); ++b) {
      const auto expected = attention.forward(alone(input, b));
      EXPECT_LE(relative_error(found.narrow(0, b, 1).slice(2, 0, kCounts[b]), expected), 1e-5) << size << " sequence " << b;
      const auto weights = attention_weights(attention, alone(input, b), {0}).weights.to(at::kFloat);
      EXPECT_LE(relative_error(by_features.narrow(0, b, 1).slice(3, 0, kCounts[b]), weights), 1e-5) << size << " " << b;
    }
  }
}

TEST_P(Padding, GradientsComeFromRealKeysOnly) {
  const auto attention = perturbed(GetParam());
  auto input = padded_rows(1e3);
  for (auto* x : {&input.q, &input.k, &input.v}) x->requires_grad_(true);
  const auto direction = at::randn_like(input.q);
  const auto real = at::arange(kLength, at::kInt).lt(input.key_count.unsqueeze(-1)).unsqueeze(1).unsqueeze(-1);
  torch::autograd::backward({attention.forward(input)}, {direction * real});
  for (std::int64_t b = 0; b < std::ssize(kCounts); ++b) {
    auto own = alone(input, b);
    for (auto* x : {&own.q, &own.k, &own.v}) *x = x->detach().requires_grad_(true);
    torch::autograd::backward({attention.forward(own)}, {direction.narrow(0, b, 1).slice(2, 0, kCounts[b])});
    const auto expect_same = [&](const at::Tensor& of_batch, const at::Tensor& expected, const char* name) {
      const auto gradient = of_batch.narrow(0, b, 1);
      EXPECT_LE((gradient.slice(2, 0, kCounts[b]) - expected).abs().max().item<double>(), 1e-5) << name << " " << b;
      if (kCounts[b] < kLength) {
        EXPECT_EQ(gradient.slice(2, kCounts[b]).abs().max().item<float>(), 0) << name << " of padding " << b;
      }
    };
    expect_same(input.q.grad(), own.q.grad(), "q");
    expect_same(input.k.grad(), own.k.grad(), "k");
    expect_same(input.v.grad(), own.v.grad(), "v");
  }
}

TEST_P(Padding, PackedDocumentsEqualPaddedOnes) {
  const auto attention = perturbed(GetParam());
  const auto input = padded_rows(1);
  // The three sequences one after the other, and five rows of padding behind them.
  AttentionInput packed;
  std::vector<at::Tensor> q, k, v, starts;
  std::int32_t start = 0;
  for (std::int64_t b = 0; b < std::ssize(kCounts); ++b) {
    const auto own = alone(input, b);
    q.push_back(own.q);
    k.push_back(own.k);
    v.push_back(own.v);
    starts.push_back(at::full({1, kCounts[b]}, start, at::kInt));
    start += static_cast<std::int32_t>(kCounts[b]);
  }
  for (auto* x : {&q, &k, &v}) x->push_back(at::full({1, x->front().size(1), 5, kDim}, 50.0));
  starts.push_back(at::full({1, 5}, start, at::kInt));
  packed.q = at::cat(q, 2);
  packed.k = at::cat(k, 2);
  packed.v = at::cat(v, 2);
  packed.segment_start = at::cat(starts, 1);
  packed.key_count = at::full({1}, start, at::kInt);
  const auto found = attention.forward(packed), expected = attention.forward(input);
  start = 0;
  for (std::int64_t b = 0; b < std::ssize(kCounts); ++b) {
    EXPECT_LE(relative_error(found.slice(2, start, start + kCounts[b]), expected.narrow(0, b, 1).slice(2, 0, kCounts[b])), 1e-5)
        << b;
    start += static_cast<std::int32_t>(kCounts[b]);
  }
  EXPECT_EQ(found.slice(2, start).abs().max().item<float>(), 0) << "rows that see no key";
}

TEST_P(Padding, WithoutAnyKeyTheOutputIsZero) {
  const auto attention = perturbed(GetParam());
  auto input = padded_rows(1);
  input.key_count = at::zeros({3}, at::kInt);
  for (auto* x : {&input.q, &input.k, &input.v}) x->requires_grad_(true);
  const auto found = attention.forward(input);
  EXPECT_EQ(found.abs().max().item<float>(), 0);
  torch::autograd::backward({found.sum()}, {});
  for (auto* x : {&input.q, &input.k, &input.v}) EXPECT_EQ(x->grad().abs().max().item<float>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, Padding, ::testing::ValuesIn(bidirectional_forms()), [](const auto& info) {
  std::string name = info.index == 0 ? "exact" : info.param.feature_map;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(PaddingTest, IsBidirectionalOnly) {
  const auto input = padded_rows(1);
  for (const auto& config : {AttentionConfig{}, AttentionConfig{.kind = AttentionKind::kLinear}}) {
    const auto attention = perturbed(config);
    EXPECT_THROW(attention.forward(input), Error);
    AttentionState state;
    EXPECT_THROW(attention.continue_from(state, input), Error);
  }
  auto wrong = input;
  wrong.key_count = at::full({2}, 3, at::kInt);
  for (const auto& config : bidirectional_forms()) EXPECT_THROW(perturbed(config).forward(wrong), Error);
}

TEST(PaddingTest, DistillationLeavesPaddingOut) {
  const Attention teacher({.causal = false}, kHeads, kKeyHeads, kDim, 0);
  for (const auto& map : kMaps) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = map, .causal = false});
    for (const double size : {1.0, 1e3}) {
      const auto input = padded_rows(size);
      double error = 0, scale = 0;
      for (std::int64_t b = 0; b < std::ssize(kCounts); ++b) {
        const auto own = alone(input, b);
        const auto wanted = teacher.forward(own);
        error += (attention.forward(own) - wanted).square().sum(at::kDouble).item<double>();
        scale += wanted.square().sum(at::kDouble).item<double>();
      }
      EXPECT_NEAR(attention.distill(input, 0, 1, 0).output_error, error / scale, 1e-5 * error / scale) << map << " " << size;
    }
  }
}

TEST(PaddingTest, DistillationGradientIsTheSlopeOfItsLoss) {
  for (const auto& map : kMaps) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = map, .causal = false});
    const auto input = padded_rows(3);
    for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
    attention.distill(input, 0, 2, 1.0);
    for (auto& [name, tensor] : attention.parameters()) {
      ASSERT_TRUE(tensor->grad().defined()) << name;
      const auto direction = at::randn_like(*tensor);
      const auto slope = (tensor->grad() * direction).sum().item<double>();
      const auto loss_at = [&](double step) {
        const at::NoGradGuard guard;
        tensor->add_(direction, step);
        const auto loss = attention.distill(input, 0, 2, 0.0);
        tensor->add_(direction, -step);
        return 2 * loss.output_error;
      };
      const double step = 2e-3, measured = (loss_at(step) - loss_at(-step)) / (2 * step);
      EXPECT_NEAR(slope, measured, 0.03 * std::max(0.02, std::abs(measured))) << name << " of " << map;
    }
  }
}

}  // namespace
}  // namespace hedgehog
