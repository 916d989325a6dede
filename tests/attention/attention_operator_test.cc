// The operator, by the kernels and composed, against its definition in fp64 (operator_weights), outputs and, by autograd of the
// definition, all gradients.
#include "hedgehog/attention/attention_operator.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/composed.h"
#include "hedgehog/base/error.h"
#include "tests/attention/random_input.h"
#include "tests/kernels/every_target.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <numeric>

namespace hedgehog {
namespace {

using testing::all_rows;
using testing::by_definition;
using testing::InputShape;
using testing::random_input;
using testing::relative_error;

std::vector<InputShape> grid() {
  std::vector<InputShape> shapes;
  for (const std::int64_t length : {1, 7, 64, 65, 150}) {
    for (const bool packed : {false, true}) {
      shapes.push_back({.length = length, .features = 0, .packed = packed});                           // softmax
      shapes.push_back({.length = length, .features = 0, .window = 9, .packed = packed});              // sliding window
      shapes.push_back({.length = length, .features = 0, .window = 9, .sinks = 3, .packed = packed});  // linear removed
      shapes.push_back({.length = length, .packed = packed});                                          // linear
      shapes.push_back({.length = length, .gate = true, .packed = packed});                            // gated
      shapes.push_back({.length = length, .window = 16, .log_scale = true, .packed = packed});         // hybrid
      shapes.push_back({.length = length, .window = 70, .sinks = 4, .log_scale = true, .packed = packed});
      shapes.push_back({.length = length, .window = 1, .sinks = 2, .gate = true, .log_scale = true, .packed = packed});
      shapes.push_back({.length = length, .window = 0, .sinks = 5, .log_scale = true, .packed = packed});  // sinks alone
      shapes.push_back({.length = length, .packed = packed, .causal = false});
    }
    shapes.push_back({.length = length, .causal = false, .padded = length > 1});
  }
  shapes.push_back({.batch = 1,
                    .heads = 9,
                    .kv_heads = 3,
                    .length = 200,
                    .dim = 64,
                    .features = 128,
                    .window = 64,
                    .sinks = 4,
                    .gate = true,
                    .log_scale = true});
  // Long enough to be cut into blocks of rows.
  for (const bool packed : {false, true}) {
    shapes.push_back({.batch = 1, .length = 1100, .gate = true, .packed = packed});
    shapes.push_back({.batch = 1, .length = 1100, .window = 70, .sinks = 4, .gate = true, .log_scale = true, .packed = packed});
    shapes.push_back(
        {.batch = 1, .heads = 2, .kv_heads = 1, .length = 1090, .window = 1, .sinks = 70, .log_scale = true, .packed = packed});
  }
  // Heads enough for each to go through its blocks one after the other.
  shapes.push_back({.heads = 8, .kv_heads = 4, .length = 1100, .packed = true});
  shapes.push_back({.heads = 4,
                    .kv_heads = 4,
                    .length = 1100,
                    .dim = 8,
                    .features = 8,
                    .window = 70,
                    .sinks = 4,
                    .gate = true,
                    .log_scale = true});
  shapes.push_back({.batch = 3, .heads = 5, .kv_heads = 5, .length = 67, .dim = 33, .features = 10, .gate = true});
  return shapes;
}

// Output and all gradients of `attend` against the definition's; with q, k, v in `dtype`.
void expect_definition(const InputShape& shape, at::ScalarType dtype = at::kFloat,
                       at::Tensor (*attend)(const OperatorInput&) = attention_operator) {
  const bool half = dtype == at::kBFloat16;
  auto input = random_input(shape, 7);
  for (auto* x : {&input.q, &input.k, &input.v}) *x = x->to(dtype);
  std::vector<at::Tensor*> leaves;
  for (auto* x : {&input.q, &input.k, &input.v, &input.phi_q, &input.phi_k, &input.row_log_scale, &input.log_gate}) {
    if (!x->defined()) continue;
    x->requires_grad_(true);
    leaves.push_back(x);
  }
  const auto expected = by_definition(input);
  const auto found = attend(input);
  EXPECT_EQ(found.scalar_type(), dtype);
  EXPECT_LE(relative_error(found, expected), half ? 1e-2 : 1e-5);

  const auto direction = at::randn_like(found);
  torch::autograd::backward({expected}, {direction.to(at::kDouble)});
  std::vector<at::Tensor> wanted;
  for (auto* x : leaves) {
    wanted.push_back(x->grad().defined() ? x->grad().clone() : at::zeros_like(*x));
    x->mutable_grad() = at::Tensor();
  }
  torch::autograd::backward({found}, {direction});
  // One scale for all, so that gradients that are zero but for rounding are held to an absolute bound.
  double scale = 0;
  for (const auto& x : wanted) scale = std::max(scale, x.abs().max().item<double>());
  for (std::size_t n = 0; n < leaves.size(); ++n) {
    const auto gradient = leaves[n]->grad().defined() ? leaves[n]->grad() : at::zeros_like(*leaves[n]);
    EXPECT_LE((gradient - wanted[n]).abs().max().item<double>(), (half ? 1e-2 : 2e-5) * scale) << "input " << n;
  }
}

class AttentionOperator : public ::testing::TestWithParam<InputShape> {};

TEST_P(AttentionOperator, ForwardAndGradientsAreTheDefinitions) {
  expect_definition(GetParam());
}

TEST_P(AttentionOperator, TakesBf16) {
  expect_definition(GetParam(), at::kBFloat16);
}

TEST_P(AttentionOperator, ComposedIsTheDefinitionToo) {
  expect_definition(GetParam(), at::kFloat, composed_attention);
}

INSTANTIATE_TEST_SUITE_P(Grid, AttentionOperator, ::testing::ValuesIn(grid()),
                         [](const auto& info) { return "case" + std::to_string(info.index); });

TEST(AttentionOperator, IsTheDefinitionOnEveryInstructionSet) {
  kernels::on_every_target([] {
    for (const InputShape& shape :
         {InputShape{.features = 0, .window = 9}, InputShape{}, InputShape{.length = 600, .gate = true},
          InputShape{.length = 150, .window = 70, .sinks = 4, .gate = true, .log_scale = true, .packed = true}}) {
      SCOPED_TRACE(shape.describe());
      expect_definition(shape);
      expect_definition(shape, at::kBFloat16);
    }
  });
}

TEST(AttentionOperator, IsTheSameForAnyNumberOfThreads) {
  const auto run = [](std::int64_t length, int threads) {
    at::set_num_threads(threads);
    auto input = random_input(
        {.batch = 1, .length = length, .window = 20, .sinks = 2, .gate = true, .log_scale = true, .packed = true}, 3);
    for (auto* x : {&input.q, &input.k, &input.v, &input.phi_q, &input.phi_k, &input.log_gate}) x->requires_grad_(true);
    const auto y = attention_operator(input);
    torch::autograd::backward({y.square().sum()}, {});
    return std::vector<at::Tensor>{y.detach(),     input.q.grad(),     input.k.grad(),
                                   input.v.grad(), input.phi_k.grad(), input.log_gate.grad()};
  };
  const int before = at::get_num_threads();
  for (const std::int64_t length : {130, 1100}) {
    const auto one = run(length, 1), two = run(length, 2), three = run(length, 3);
    for (std::size_t n = 0; n < one.size(); ++n) {
      EXPECT_TRUE(at::equal(one[n], two[n]) && at::equal(one[n], three[n])) << length << " rows, tensor " << n;
    }
  }
  at::set_num_threads(before);
}

TEST(AttentionOperator, StaysFiniteOnExtremeInputs) {
  for (const InputShape& shape :
       {InputShape{.features = 0}, InputShape{.window = 8, .sinks = 2, .log_scale = true}, InputShape{.gate = true}}) {
    for (const double size : {1e4, 1e-40, 0.0}) {
      auto input = random_input(shape, 5);
      input.q = input.q * size;
      input.k = input.k * (size > 1 ? 1.0 : size);
      if (input.phi_q.defined()) input.phi_q = input.phi_q * (size > 1 ? 1.0 : size);
      if (input.log_gate.defined()) input.log_gate = at::full_like(input.log_gate, -1e4);
      for (auto* x : {&input.q, &input.k, &input.v}) x->requires_grad_(true);
      const auto y = attention_operator(input);
      torch::autograd::backward({y.sum()}, {});
      EXPECT_TRUE(at::isfinite(y).all().item<bool>()) << shape.describe() << " " << size;
      for (const auto& gradient : {input.q.grad(), input.k.grad(), input.v.grad()}) {
        if (gradient.defined()) {
          EXPECT_TRUE(at::isfinite(gradient).all().item<bool>()) << shape.describe() << " " << size;
        }
      }
    }
  }
}

TEST(AttentionOperator, ARowWithoutAnyWeightIsZero) {
  auto input = random_input({.length = 10}, 5);
  input.phi_q = at::zeros_like(input.phi_q);
  EXPECT_EQ(attention_operator(input).abs().max().item<float>(), 0);
}

TEST(AttentionOperator, ComposedAppliesMapsAsTheKernelsDo) {
  for (const auto activation :
       {kernels::Activation::kSplitSoftmax, kernels::Activation::kJointSoftmax, kernels::Activation::kExp}) {
    auto input = random_input({.length = 150, .features = 0, .window = 9, .sinks = 3, .log_scale = true, .packed = true}, 3);
    input.map = {activation, at::randn({4, 12, 16}), at::randn({4, 12}), at::randn({2, 12, 16}), at::randn({2, 12}), {}};
    if (activation == kernels::Activation::kExp) input.map.k_reference = at::full({2, 2, 150}, 20.0);
    std::vector<at::Tensor*> leaves{
        &input.q,         &input.k, &input.v, &input.row_log_scale, &input.map.q_weight, &input.map.q_bias, &input.map.k_weight,
        &input.map.k_bias};
    for (auto* x : leaves) x->requires_grad_(true);
    const auto run = [&](at::Tensor (*attend)(const OperatorInput&)) {
      const auto y = attend(input);
      torch::autograd::backward({y.square().sum()}, {});
      std::vector<at::Tensor> all{y.detach()};
      for (auto* x : leaves) {
        all.push_back(x->grad());
        x->mutable_grad() = at::Tensor();
      }
      return all;
    };
    const auto expected = run(attention_operator), found = run(composed_attention);
    for (std::size_t n = 0; n < expected.size(); ++n) {
      EXPECT_LE(relative_error(found[n], expected[n]), 2e-5) << static_cast<int>(activation) << ", tensor " << n;
    }
  }
}

class Distillation : public ::testing::TestWithParam<InputShape> {};

using Distil = DistillationOutput (*)(const OperatorInput&, const QueryRows&, std::int64_t, double, bool);

// Loss, softmax's output and all gradients of some query rows against the definitions'; with q, k, v in `dtype`.
void expect_distillation(const InputShape& shape, at::ScalarType dtype = at::kFloat, Distil distil = distillation_operator,
                         const QueryRows& chosen = {}) {
  const bool half = dtype == at::kBFloat16;
  auto input = random_input(shape, 11);
  for (auto* x : {&input.q, &input.k, &input.v}) *x = x->to(dtype);
  for (auto* x : {&input.phi_q, &input.phi_k, &input.row_log_scale, &input.log_gate}) {
    if (x->defined()) x->requires_grad_(true);
  }
  OperatorInput teacher;
  teacher.q = input.q;
  teacher.k = input.k;
  teacher.v = input.v;
  teacher.segment_start = input.segment_start;
  teacher.key_count = input.key_count;
  teacher.causal = input.causal;
  std::vector<std::int64_t> rows;
  for (std::int64_t row = 0; row < chosen.count(shape.length); ++row) rows.push_back(chosen.at(row));
  auto counts = at::ones({1, 1, std::ssize(rows), 1}, at::kDouble);  // rows of padding have zeros
  if (input.key_count.defined()) {
    counts = at::tensor(rows).lt(input.key_count.unsqueeze(-1)).to(at::kDouble).unsqueeze(1).unsqueeze(-1);
  }
  for (const std::int64_t teacher_window : {0, 12}) {
    if (teacher_window > 0 && !shape.causal) continue;
    teacher.window = teacher_window;
    const auto p = operator_weights(teacher, rows).weights.detach() * counts;
    const auto a = operator_weights(input, rows).weights;
    const auto expected = -(p * at::where(p.gt(0), a, at::ones({}, at::kDouble)).log()).sum(-1);
    const auto entropy = -(p * at::where(p.gt(0), p, at::ones({}, at::kDouble)).log()).sum(-1);
    torch::autograd::backward({expected.sum() * 0.25}, {});
    const auto found = distil(input, chosen, teacher_window, 0.25, true);
    EXPECT_LE(relative_error(found.cross_entropy + 1, expected + 1), half ? 1e-2 : 2e-5);
    EXPECT_LE(relative_error(found.entropy + 1, entropy + 1), half ? 1e-2 : 2e-5);
    const auto softmax = by_definition(teacher).index_select(2, at::tensor(rows)) * counts;
    EXPECT_LE(relative_error(found.teacher, softmax), half ? 1e-2 : 1e-5);
    const auto compare = [&](const at::Tensor& gradient, at::Tensor& leaf, const char* name) {
      if (!leaf.defined()) return;
      ASSERT_TRUE(gradient.defined()) << name;
      const auto wanted = leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
      EXPECT_LE((gradient - wanted).abs().max().item<double>(),
                (half ? 2e-2 : 1e-4) * std::max(1e-3, wanted.abs().max().item<double>()))
          << name;
      leaf.mutable_grad() = at::Tensor();
    };
    compare(found.phi_q, input.phi_q, "phi_q");
    compare(found.phi_k, input.phi_k, "phi_k");
    compare(found.row_log_scale, input.row_log_scale, "row_log_scale");
    compare(found.log_gate, input.log_gate, "log_gate");
    const auto loss_alone = distil(input, chosen, teacher_window, 0, false);
    EXPECT_TRUE(at::equal(loss_alone.cross_entropy, found.cross_entropy));
  }
}

TEST_P(Distillation, LossAndGradientsAreTheDefinitions) {
  expect_distillation(GetParam());
}

TEST_P(Distillation, TakesBf16) {
  expect_distillation(GetParam(), at::kBFloat16);
}

TEST_P(Distillation, ComposedIsTheDefinitionToo) {
  expect_distillation(GetParam(), at::kFloat, composed_distillation);
}

TEST_P(Distillation, OfSomeRows) {
  const std::int64_t length = GetParam().length;
  for (const QueryRows& rows :
       {QueryRows{.first = 1, .step = 3}, {.first = length / 2, .step = 1}, {.first = length - 1, .step = 5}}) {
    if (rows.count(length) == 0) continue;
    SCOPED_TRACE(rows.first);
    expect_distillation(GetParam(), at::kFloat, distillation_operator, rows);
    expect_distillation(GetParam(), at::kBFloat16, distillation_operator, rows);
    expect_distillation(GetParam(), at::kFloat, composed_distillation, rows);
  }
}

TEST(DistillationOperator, NeedsARow) {
  const auto input = random_input({.length = 20}, 3);
  for (const QueryRows& rows : {QueryRows{.first = 20}, {.first = -1}, {.step = 0}}) {
    EXPECT_THROW(distillation_operator(input, rows, 0, 0), Error);
  }
}

TEST(DistillationOperator, OfPaddingAloneIsZero) {
  auto input = random_input({.causal = false}, 5);
  input.key_count = at::tensor({0, 70}, at::kInt);
  for (const Distil distil : {distillation_operator, composed_distillation}) {
    const auto found = distil(input, {}, 0, 1, true);
    for (const auto& x : {found.cross_entropy, found.entropy, found.phi_q, found.phi_k}) {
      EXPECT_EQ(x[0].abs().max().item<double>(), 0);
      EXPECT_GT(x[1].abs().max().item<double>(), 0);
    }
  }
}

// Features whose products leave fp32's range: the weights' sums go down to denormal numbers and to nothing.
TEST(DistillationOperator, StaysFiniteWhereFeaturesHardlyMeet) {
  for (const InputShape& shape : {InputShape{}, InputShape{.causal = false, .padded = true}}) {
    auto input = random_input(shape, 9);
    const auto phi_q = input.phi_q, phi_k = input.phi_k;
    for (const double size : {1e-15, 1e-17, 1e-19, 1e-20, 1e-21, 1e-22, 1e-23}) {
      SCOPED_TRACE(size);
      input.phi_q = (phi_q * size).detach().requires_grad_(true);
      input.phi_k = (at::rand_like(phi_k).pow(4) * size).detach().requires_grad_(true);
      for (const Distil distil : {distillation_operator, composed_distillation}) {
        const auto found = distil(input, {}, 0, 1, true);
        for (const auto& x : {found.cross_entropy, found.phi_q, found.phi_k}) {
          EXPECT_TRUE(at::isfinite(x).all().item<bool>());
        }
        input.phi_q.mutable_grad() = input.phi_k.mutable_grad() = at::Tensor();
      }
    }
  }
}

// Maps such as pair-gelu may give a row a sum below 0.
TEST(DistillationOperator, OfNegativeFeaturesIsThatOfPositiveOnes) {
  const auto input = random_input({}, 9);
  OperatorInput negative = input;
  negative.phi_k = -input.phi_k;
  const auto expected = distillation_operator(input, {}, 0, 1, true), found = distillation_operator(negative, {}, 0, 1, true);
  EXPECT_LE(relative_error(found.phi_q, expected.phi_q), 1e-5);
  EXPECT_LE(relative_error(-found.phi_k, expected.phi_k), 1e-5);
}

TEST(DistillationOperator, IsTheDefinitionOnEveryInstructionSet) {
  kernels::on_every_target([] {
    for (const InputShape& shape :
         {InputShape{.length = 150, .packed = true}, InputShape{.length = 100, .window = 9, .sinks = 3, .gate = true},
          InputShape{.length = 150, .causal = false, .padded = true}}) {
      SCOPED_TRACE(shape.describe());
      expect_distillation(shape);
      expect_distillation(shape, at::kBFloat16);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Grid, Distillation,
    ::testing::Values(
        InputShape{}, InputShape{.length = 150, .packed = true}, InputShape{.length = 1},
        InputShape{.length = 130, .gate = true}, InputShape{.window = 16, .log_scale = true},
        InputShape{.length = 140, .window = 9, .sinks = 3, .gate = true, .log_scale = true, .packed = true},
        InputShape{.batch = 1, .heads = 9, .kv_heads = 3, .length = 200, .dim = 64, .features = 128},
        InputShape{.causal = false}, InputShape{.length = 1, .causal = false},
        InputShape{.length = 150, .packed = true, .causal = false}, InputShape{.causal = false, .padded = true},
        InputShape{.batch = 5, .length = 200, .causal = false, .padded = true},
        InputShape{.batch = 5, .heads = 12, .kv_heads = 12, .length = 150, .packed = true, .causal = false, .padded = true}),
    [](const auto& info) { return "case" + std::to_string(info.index); });

}  // namespace
}  // namespace hedgehog
