// The opponents compute what Hedgehog does: each against a plain fp64 form, and their gradients against Hedgehog's.
#include "hedgehog/benchmark/opponents.h"

#include "hedgehog/benchmark/forms.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

AttentionProblem small(Work work, bool causal = true) {
  return {{"small", 4, 2, 16, causal}, work, 2, 192, at::kFloat};
}

ComposedMaps identity_maps(const HeadShape& shape) {
  const auto map = [&](std::int64_t heads) {
    return at::eye(shape.dim).expand({heads, shape.dim, shape.dim}).contiguous().set_requires_grad(true);
  };
  return {map(shape.heads), map(shape.kv_heads)};
}

at::Tensor in_double(const at::Tensor& x, std::int64_t heads) {
  return x.to(at::kDouble).repeat_interleave(heads / x.size(1), 1);
}

at::Tensor weighted(const at::Tensor& weights, const at::Tensor& v, bool causal) {
  const auto seen = causal ? weights.tril() : weights;
  return at::matmul(seen / seen.sum(-1, true), v);
}

/// N×N weights, written out.
at::Tensor plain_linear(const AttentionInput& input, bool causal) {
  const auto map = [](const at::Tensor& x) { return at::cat({x.softmax(-1), (-x).softmax(-1)}, -1); };
  const auto heads = input.q.size(1);
  const auto weights = at::matmul(map(in_double(input.q, heads)), map(in_double(input.k, heads)).transpose(-1, -2));
  return weighted(weights, in_double(input.v, heads), causal);
}

at::Tensor plain_softmax(const AttentionInput& input, bool causal) {
  const auto heads = input.q.size(1);
  const auto scores = at::matmul(in_double(input.q, heads), in_double(input.k, heads).transpose(-1, -2)) / 4;
  return weighted(scores.exp(), in_double(input.v, heads), causal);
}

void expect_near(const at::Tensor& found, const at::Tensor& expected) {
  EXPECT_LT((found.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5);
}

TEST(Opponents, ComposedFormsAreLinearAttention) {
  const AttentionInput input = random_input(small(Work::kForward));
  const ComposedMaps maps = identity_maps(small(Work::kForward).shape);
  for (const std::int64_t chunk : {64, 192}) expect_near(composed_attention(input, maps, chunk), plain_linear(input, true));
  expect_near(composed_bidirectional(input, maps), plain_linear(input, false));
}

TEST(Opponents, HedgehogDoesTheSameProblem) {
  for (const bool causal : {true, false}) {
    const AttentionProblem problem = small(Work::kForward, causal);
    const AttentionInput input = random_input(problem);
    expect_near(linear_attention(problem).forward(input), plain_linear(input, causal));
    expect_near(softmax_attention(input, causal), plain_softmax(input, causal));
  }
}

TEST(Opponents, CachedSoftmaxIsTheLastRow) {
  const AttentionInput input = random_input(small(Work::kForward));
  const auto expected = plain_softmax(input, true).narrow(2, input.q.size(2) - 1, 1);
  const auto q = input.q.narrow(2, input.q.size(2) - 1, 1);
  for (const auto& read : {cached_softmax_by_groups, cached_softmax_by_rows, cached_softmax_by_products}) {
    expect_near(read(q, input.k, input.v), expected);
  }
}

TEST(Opponents, EagerDistillationHasHedgehogsLossAndGradients) {
  const AttentionProblem problem = small(Work::kDistill);
  const AttentionInput input = random_input(problem);
  const ComposedMaps maps = identity_maps(problem.shape);
  Attention attention = linear_attention(problem);
  const auto loss = attention.distill(input, 1, 1, 1);
  EXPECT_NEAR(eager_distillation(input, maps), loss.cross_entropy + loss.output_error, 1e-4);
  for (const auto& [name, tensor] : attention.parameters()) {
    if (name == "q_map.weight") expect_near(tensor->grad(), maps.q.grad().to(at::kDouble));
    if (name == "k_map.weight") expect_near(tensor->grad(), maps.k.grad().to(at::kDouble));
  }
}

TEST(Forms, EveryFormOfEveryWorkRunsAgainAndAgain) {
  for (const bool causal : {true, false}) {
    for (const Work work : all_works()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        AttentionProblem problem = small(work, causal);
        problem.dtype = dtype;
        if (!is_possible(problem)) continue;
        const std::vector<Form> forms = forms_of(problem);
        ASSERT_GE(forms.size(), 2u);
        EXPECT_EQ(forms.front().who, "hedgehog");
        const AttentionInput input = random_input(problem);
        for (const Form& form : forms) {
          const PreparedForm prepared = form.prepare(input);
          prepared.call();
          prepared.call();
          EXPECT_EQ(prepared.carried_bytes > 0, work == Work::kDecode) << form.who;
        }
      }
    }
  }
}

}  // namespace
}  // namespace hedgehog
