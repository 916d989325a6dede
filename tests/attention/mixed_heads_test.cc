// Layers where some heads keep softmax: each head against a layer that is of its kind throughout.
#include "hedgehog/attention/attention.h"
#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/base/error.h"
#include "tests/attention/random_input.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <numeric>

namespace hedgehog {
namespace {

using testing::relative_error;

constexpr std::int64_t kQueryHeads = 8, kPairs = 4, kWidth = 16, kLayerWidth = 24;

Attention some_attention(AttentionConfig config) {
  Attention attention(config, kQueryHeads, kPairs, kWidth, kLayerWidth);
  at::manual_seed(5);
  for (auto& [name, tensor] : attention.parameters()) tensor->add_(at::randn_like(*tensor), 0.3);
  return attention;
}

AttentionInput some_rows(std::int64_t length) {
  at::manual_seed(7);
  return {at::randn({2, kQueryHeads, length, kWidth}),
          at::randn({2, kPairs, length, kWidth}),
          at::randn({2, kPairs, length, kWidth}),
          at::randn({2, length, kLayerWidth}),
          {}};
}

// Query heads of the key/value heads, two of each.
at::Tensor queries_of(const std::vector<std::int64_t>& kv_heads) {
  std::vector<std::int64_t> heads;
  for (const std::int64_t head : kv_heads) heads.insert(heads.end(), {2 * head, 2 * head + 1});
  return at::tensor(heads, at::kLong);
}

std::vector<std::int64_t> others(const std::vector<std::int64_t>& kept) {
  std::vector<std::int64_t> heads;
  for (std::int64_t head = 0; head < kPairs; ++head) {
    if (std::find(kept.begin(), kept.end(), head) == kept.end()) heads.push_back(head);
  }
  return heads;
}

const std::vector<std::vector<std::int64_t>> kKept = {{0}, {3}, {1}, {0, 2}, {1, 2, 3}};

std::vector<AttentionConfig> kinds() {
  return {{.kind = AttentionKind::kLinear},
          {.kind = AttentionKind::kLinear, .causal = false},
          {.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = true},
          {.kind = AttentionKind::kLinear, .feature_map = "performer"},
          {.kind = AttentionKind::kHybrid, .window = 6, .sinks = 2}};
}

TEST(MixedHeads, EachIsWhatItWouldBeAmongItsLike) {
  for (AttentionConfig config : kinds()) {
    const auto input = some_rows(40);
    const Attention pure = some_attention(config), softmax = pure.with_config({.causal = config.causal});
    std::vector<std::int64_t> rows(40);
    std::iota(rows.begin(), rows.end(), 0);
    for (const auto& kept : kKept) {
      config.softmax_heads = kept;
      const Attention mixed = some_attention(config);
      const auto exact = queries_of(kept), linear = queries_of(others(kept));
      EXPECT_TRUE(mixed.softmax_heads().equal(exact));
      const auto compare = [&](const at::Tensor& found, const at::Tensor& of_linear, const at::Tensor& of_softmax) {
        EXPECT_LE(relative_error(found.index_select(1, linear), of_linear.index_select(1, linear)), 1e-5) << config.feature_map;
        EXPECT_LE(relative_error(found.index_select(1, exact), of_softmax.index_select(1, exact)), 1e-5) << config.feature_map;
      };
      compare(mixed.forward(input), pure.forward(input), softmax.forward(input));
      compare(attention_weights(mixed, input, rows).weights, attention_weights(pure, input, rows).weights,
              attention_weights(softmax, input, rows).weights);
      for (const auto control : {AttentionControl::kLinearRemoved, AttentionControl::kWindowRemoved}) {
        const auto found = mixed.forward(input, control), of_linear = pure.forward(input, control);
        EXPECT_LE((found - of_linear).index_select(1, linear).abs().max().item<float>(), 1e-5);
        EXPECT_LE(relative_error(found.index_select(1, exact), softmax.forward(input).index_select(1, exact)), 1e-5);
      }
      EXPECT_EQ(mixed.forward(input, AttentionControl::kNoAttention).abs().max().item<float>(), 0);
    }
  }
}

TEST(MixedHeads, ContinueFromAnyPlace) {
  for (AttentionConfig config : kinds()) {
    if (!config.causal) continue;
    for (const auto& kept : kKept) {
      config.softmax_heads = kept;
      const Attention mixed = some_attention(config);
      const auto input = some_rows(90);
      AttentionState state;
      std::vector<at::Tensor> parts;
      const auto go_on = [&](std::int64_t begin, std::int64_t end) {
        const auto rows = [&](const at::Tensor& x, std::int64_t dim) { return x.slice(dim, begin, end); };
        parts.push_back(
            mixed.continue_from(state, {rows(input.q, 2), rows(input.k, 2), rows(input.v, 2), rows(input.x, 1), {}}));
      };
      go_on(0, 50);
      go_on(50, 57);
      for (std::int64_t i = 57; i < 90; ++i) go_on(i, i + 1);
      EXPECT_LE(relative_error(at::cat(parts, 2), mixed.forward(input)), 2e-5) << config.feature_map;
      EXPECT_EQ(state.softmax_k.size(1), std::ssize(kept));
      EXPECT_EQ(state.linear.s.size(1), kPairs - std::ssize(kept));
    }
  }
}

// The gradients of the outputs and of the distillation reach the weights of linear heads, and no others.
TEST(MixedHeads, OnlyLinearOnesLearn) {
  for (AttentionConfig config : kinds()) {
    if (config.feature_map == "performer") continue;
    const auto input = some_rows(40);
    Attention pure = some_attention(config);
    for (const auto& kept : kKept) {
      config.softmax_heads = kept;
      Attention mixed = some_attention(config);
      const auto exact = queries_of(kept), linear = queries_of(others(kept));
      const auto linear_kv = at::tensor(others(kept), at::kLong), exact_kv = at::tensor(kept, at::kLong);
      const auto gradients = [](Attention& attention, const auto& run) {
        std::vector<at::Tensor> found;
        for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
        run(attention);
        for (auto& [name, tensor] : attention.parameters()) {
          found.push_back(tensor->grad().clone());
          tensor->mutable_grad().reset();
          tensor->requires_grad_(false);
        }
        return found;
      };
      const auto expect_same = [&](const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& expected) {
        for (std::size_t i = 0; i < found.size(); ++i) {
          const bool of_queries = found[i].size(0) == kQueryHeads;
          const auto &learning = of_queries ? linear : linear_kv, &still = of_queries ? exact : exact_kv;
          EXPECT_LE(relative_error(found[i].index_select(0, learning), expected[i].index_select(0, learning)), 1e-4)
              << config.feature_map << " " << i;
          EXPECT_EQ(found[i].index_select(0, still).abs().max().item<float>(), 0);
        }
      };
      const auto outputs = [&](Attention& attention) {
        const auto y = attention.forward(input).index_select(1, linear);
        torch::autograd::backward({(y * at::linspace(-1, 1, y.numel()).view_as(y)).sum()}, {});
      };
      expect_same(gradients(mixed, outputs), gradients(pure, outputs));

      // A mean over fewer heads: their gradients are larger by as much.
      const double share = static_cast<double>(linear.numel()) / kQueryHeads;
      const auto distil = [&](double factor) {
        return [&input, factor](Attention& attention) { attention.distill(input, 1, 0, factor); };
      };
      expect_same(gradients(mixed, distil(share)), gradients(pure, distil(1)));
      EXPECT_GT(mixed.distill(input, 0, 1, 0).output_error, 0);
    }
  }
}

TEST(MixedHeads, SenselessOnesAreErrors) {
  const auto made = [](AttentionKind kind, std::vector<std::int64_t> heads) {
    return Attention({.kind = kind, .softmax_heads = std::move(heads)}, kQueryHeads, kPairs, kWidth, kLayerWidth);
  };
  EXPECT_NO_THROW(made(AttentionKind::kLinear, {0, 1, 2}));
  EXPECT_THROW(made(AttentionKind::kLinear, {0, 1, 2, 3}), Error);
  EXPECT_THROW(made(AttentionKind::kLinear, {4}), Error);
  EXPECT_THROW(made(AttentionKind::kLinear, {-1}), Error);
  EXPECT_THROW(made(AttentionKind::kLinear, {1, 0}), Error);
  EXPECT_THROW(made(AttentionKind::kLinear, {1, 1}), Error);
  EXPECT_THROW(made(AttentionKind::kSoftmax, {1}), Error);
}

}  // namespace
}  // namespace hedgehog
