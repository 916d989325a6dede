// Attention as a part of a model: feature maps by their formulas, the chunked and recurrent forms against one long call,
// distillation's gradient against finite differences.
#include "hedgehog/attention/attention.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/base/error.h"
#include "tests/attention/random_input.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

namespace hedgehog {

void PrintTo(const AttentionConfig& config, std::ostream* out) {
  *out << to_string(config.kind) << " " << config.feature_map << " M" << config.feature_dim << " w" << config.window << " s"
       << config.sinks << (config.gate ? " gate" : "");
}

namespace {

using testing::kDim;
using testing::kHeads;
using testing::kKeyHeads;
using testing::relative_error;

constexpr std::int64_t kHidden = 24;

// Exp and scores of exp form as they are, nothing subtracted.
at::Tensor plain_features(const std::string& name, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const auto u = weight.defined() ? at::matmul(x, weight.transpose(-1, -2)) + bias.unsqueeze(-2) : x;
  if (name == "hedgehog-softmax") return at::cat({u.softmax(-1), (-u).softmax(-1)}, -1);
  if (name == "hedgehog-joint") return at::cat({2 * u, -2 * u}, -1).softmax(-1);
  if (name == "hedgehog-exp") return at::cat({u.exp(), (-u).exp()}, -1);
  if (name == "t2r" || name == "relu") return u.clamp_min(0);
  if (name == "elu") return at::where(u.gt(0), u + 1, u.clamp_max(0).exp());
  if (name == "identity") return u;
  if (name == "exp-1") return u.exp();
  if (name == "performer") {
    const double dim = static_cast<double>(x.size(-1)), width = static_cast<double>(u.size(-1));
    return (u - x.square().sum(-1, true) / (2 * std::sqrt(dim))).exp() / std::sqrt(width);
  }
  if (name == "cosformer-1024") {
    const auto angle = at::arange(x.size(2), x.options().requires_grad(false)).unsqueeze(-1) * (M_PI / 2048);
    return at::cat({u.clamp_min(0) * angle.cos(), u.clamp_min(0) * angle.sin()}, -1);
  }
  if (name == "taylor") {
    const auto scaled = u / std::pow(static_cast<double>(u.size(-1)), 0.25);
    std::vector<at::Tensor> columns{at::ones_like(u.select(-1, 0))};
    for (const auto& column : scaled.unbind(-1)) columns.push_back(column);
    std::vector<at::Tensor> squares;
    for (std::int64_t i = 0; i < u.size(-1); ++i) {
      for (std::int64_t j = i + 1; j < u.size(-1); ++j) columns.push_back(scaled.select(-1, i) * scaled.select(-1, j));
      squares.push_back(scaled.select(-1, i).square() / std::sqrt(2.0));
    }
    columns.insert(columns.end(), squares.begin(), squares.end());
    return at::stack(columns, -1);
  }
  ADD_FAILURE() << "no formula for " << name;
  return {};
}

class Maps : public ::testing::TestWithParam<std::string> {};

TEST_P(Maps, AreTheirFormulasWithTheirGradients) {
  const auto map = feature_map_named(GetParam());
  const bool weights = map.map->weights != maps::Weights::kNone;
  const auto make = [&](at::ScalarType dtype) {
    at::manual_seed(1);
    std::vector<at::Tensor> made{at::randn({2, 3, 9, kDim}).to(dtype).requires_grad_(true)};
    if (!weights) return made;
    made.push_back(at::randn({3, 11, kDim}).div(4).to(dtype).requires_grad_(true));
    made.push_back(at::randn({3, 11}).to(dtype).requires_grad_(true));
    return made;
  };
  auto single = make(at::kFloat), exact = make(at::kDouble);
  const auto of = [&](const std::vector<at::Tensor>& x, std::size_t n) { return n < x.size() ? x[n] : at::Tensor(); };
  const auto positions = at::arange(9, at::kLong).unsqueeze(0);
  const auto features = features_of(map, single[0], of(single, 1), of(single, 2), positions);
  EXPECT_EQ(features.phi.size(-1), map.map->features(weights ? 11 : kDim));
  auto found = features.phi;
  // The scale is held fixed in the gradient, since it cancels in use; for the comparison it is multiplied back as a constant.
  if (features.log_scale.defined()) found = found * features.log_scale.exp().unsqueeze(-1);
  const auto expected = plain_features(GetParam(), exact[0], of(exact, 1), of(exact, 2));
  EXPECT_LE(relative_error(found.detach(), expected.detach()), 1e-5);
  const auto direction = at::randn_like(expected);
  torch::autograd::backward({expected}, {direction});
  torch::autograd::backward({found}, {direction.to(at::kFloat)});
  for (std::size_t n = 0; n < single.size(); ++n) EXPECT_LE(relative_error(single[n].grad(), exact[n].grad()), 1e-4) << n;
}

std::string test_name(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Maps, ::testing::ValuesIn(feature_map_names()),
                         [](const auto& info) { return test_name(info.param); });

// Below F rows Taylor attends by its weights, from there on by its features: the same function, and the same gradients.
class TwoForms : public ::testing::TestWithParam<bool> {};

TEST_P(TwoForms, OfTaylorAgreeWhereOneFollowsTheOther) {
  constexpr std::int64_t kSmall = 4, kFeatures = 1 + kSmall + kSmall * (kSmall + 1) / 2;  // 15
  const bool causal = GetParam();
  const Attention attention({.kind = AttentionKind::kLinear, .feature_map = "taylor", .causal = causal}, kHeads, kKeyHeads,
                            kSmall, kHidden);
  at::manual_seed(1);
  AttentionInput longer;
  longer.q = at::randn({2, kHeads, kFeatures + 6, kSmall});
  longer.k = at::randn({2, kKeyHeads, kFeatures + 6, kSmall});
  longer.v = at::randn({2, kKeyHeads, kFeatures + 6, kSmall});
  if (!causal) longer.key_count = at::full({2}, kFeatures - 1, at::kInt);
  AttentionInput shorter;
  const std::array<at::Tensor AttentionInput::*, 3> tensors{&AttentionInput::q, &AttentionInput::k, &AttentionInput::v};
  for (const auto x : tensors) {
    shorter.*x = (longer.*x).narrow(2, 0, kFeatures - 1).clone().requires_grad_(true);
    (longer.*x).requires_grad_(true);
  }
  const auto by_features = attention.forward(longer).narrow(2, 0, kFeatures - 1), by_weights = attention.forward(shorter);
  EXPECT_LE(relative_error(by_weights, by_features), 1e-5);
  const auto direction = at::randn_like(by_weights);
  torch::autograd::backward({by_features, by_weights}, {direction, direction});
  for (const auto x : tensors) {
    EXPECT_LE(relative_error((shorter.*x).grad(), (longer.*x).grad().narrow(2, 0, kFeatures - 1)), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, TwoForms, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "causal" : "bidirectional"; });

TEST(FeatureMaps, AnUnknownNameIsAnErrorThatListsTheKnown) {
  for (const char* name : {"porcupine", "exp-", "exp-0", "exp-x", "exp--1", "exp-inf", "elu-2", ""}) {
    try {
      feature_map_named(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("hedgehog-softmax"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(feature_map_named("exp").number, 1);
  EXPECT_EQ(feature_map_named("exp-0.5").number, 0.5);
  EXPECT_EQ(feature_map_named("cosformer-300").number, 300);
}

// The weights that features give, against the functions of q·k that they stand for.
TEST(FeatureMaps, TaylorIsTheSecondOrderOfExp) {
  at::manual_seed(1);
  const auto q = at::randn({1, 1, 20, 64}), k = at::randn({1, 1, 30, 64});
  const auto map = feature_map_named("taylor");
  const auto products = at::matmul(features_of(map, q, {}, {}).phi, features_of(map, k, {}, {}).phi.transpose(-1, -2));
  const auto s = at::matmul(q.to(at::kDouble), k.to(at::kDouble).transpose(-1, -2)) / 8;
  EXPECT_LE(relative_error(products, 1 + s + s.square() / 2), 1e-5);
}

TEST(FeatureMaps, PerformersFeaturesEstimateExp) {
  at::manual_seed(1);
  const auto q = at::randn({1, 1, 20, 16}) * 0.5, k = at::randn({1, 1, 30, 16}) * 0.5;
  const auto map = feature_map_named("performer");
  const auto w = initial_weights(map, 1, 4096, 16);
  const auto a = features_of(map, q, w.weight, w.bias), b = features_of(map, k, w.weight, w.bias);
  const auto products =
      at::matmul(a.phi * a.log_scale.exp().unsqueeze(-1), (b.phi * b.log_scale.exp().unsqueeze(-1)).transpose(-1, -2));
  const auto wanted = (at::matmul(q, k.transpose(-1, -2)) / 4).exp();
  EXPECT_LE((products / wanted - 1).abs().mean().item<double>(), 0.05);
  // Rows of a block are orthogonal.
  const auto block = w.weight[0].narrow(0, 0, 16), gram = at::matmul(block, block.t());
  EXPECT_LE((gram - gram.diagonal().diag()).abs().max().item<double>(), 1e-4);
}

TEST(FeatureMaps, CosFormersWeightsFallWithTheDistance) {
  at::manual_seed(1);
  const auto x = at::ones({1, 1, 9, 4});
  const auto features = features_of(feature_map_named("cosformer-8"), x, {}, {}, at::arange(9, at::kLong).unsqueeze(0)).phi;
  const auto products = at::matmul(features, features.transpose(-1, -2))[0][0];
  for (std::int64_t i = 0; i < 9; ++i) {
    for (std::int64_t j = 0; j < 9; ++j) {
      EXPECT_NEAR(products[i][j].item<double>(), 4 * std::cos(M_PI * static_cast<double>(i - j) / 16), 1e-5);
    }
  }
}

Attention perturbed(const AttentionConfig& config, std::uint64_t seed) {
  at::manual_seed(seed);
  Attention attention(config, kHeads, kKeyHeads, kDim, kHidden);
  for (auto& [name, tensor] : attention.parameters()) tensor->add_(at::randn_like(*tensor) * 0.3);
  return attention;
}

AttentionInput random_rows(std::int64_t length, std::uint64_t seed, double size = 1) {
  at::manual_seed(seed);
  AttentionInput input;
  input.q = at::randn({2, kHeads, length, kDim}) * size;
  input.k = at::randn({2, kKeyHeads, length, kDim}) * size;
  input.v = at::randn({2, kKeyHeads, length, kDim});
  input.x = at::randn({2, length, kHidden});
  return input;
}

AttentionInput slice(const AttentionInput& input, std::int64_t begin, std::int64_t end) {
  return {input.q.slice(2, begin, end),
          input.k.slice(2, begin, end),
          input.v.slice(2, begin, end),
          input.x.slice(1, begin, end),
          {}};
}

// All but the identity, whose sums may be as near to 0 as they like.
std::vector<std::string> stable_maps() {
  auto names = feature_map_names();
  std::erase(names, "identity");
  return names;
}

std::vector<AttentionConfig> every_form() {
  std::vector<AttentionConfig> configs = {{}, {.window = 7}};
  for (const auto& map : stable_maps()) {
    const std::int64_t width = feature_map_named(map).map->weights == maps::Weights::kNone ? 0 : 10;
    configs.push_back({.kind = AttentionKind::kLinear, .feature_map = map});
    configs.push_back({.kind = AttentionKind::kLinear, .feature_map = map, .gate = true});
    configs.push_back(
        {.kind = AttentionKind::kHybrid, .feature_map = map, .feature_dim = width, .window = 5, .sinks = 3, .gate = true});
    configs.push_back({.kind = AttentionKind::kHybrid, .feature_map = map, .window = 1});
    configs.push_back({.kind = AttentionKind::kHybrid, .feature_map = map, .window = 0, .sinks = 2});
  }
  return configs;
}

class Continuation : public ::testing::TestWithParam<AttentionConfig> {};

TEST_P(Continuation, AnySplitEqualsOneCall) {
  const auto attention = perturbed(GetParam(), 2);
  const std::int64_t length = 90;
  const auto input = random_rows(length, 3);
  const auto expected = attention.forward(input);
  for (const std::vector<std::int64_t>& pieces : {std::vector<std::int64_t>{90},
                                                  {1, 1, 1, 1, 1, 1, 1, 83},
                                                  {2, 2, 70, 1, 15},
                                                  {64, 26},
                                                  std::vector<std::int64_t>(90, 1)}) {
    AttentionState state;
    std::vector<at::Tensor> rows;
    std::int64_t begin = 0;
    for (const std::int64_t piece : pieces) {
      rows.push_back(attention.continue_from(state, slice(input, begin, begin + piece)));
      begin += piece;
    }
    EXPECT_LE(relative_error(at::cat(rows, 2), expected), 2e-5) << pieces.size() << " pieces";
  }
}

TEST_P(Continuation, StateDoesNotGrow) {
  if (GetParam().kind == AttentionKind::kSoftmax && GetParam().window == 0) GTEST_SKIP() << "softmax keeps every key";
  const auto attention = perturbed(GetParam(), 2);
  AttentionState state;
  std::vector<std::int64_t> bytes;
  for (int piece = 0; piece < 4; ++piece) {
    attention.continue_from(state, random_rows(40, 4));
    bytes.push_back(state.bytes());
  }
  EXPECT_EQ(bytes[1], bytes[3]);
  EXPECT_GT(bytes[1], 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, Continuation, ::testing::ValuesIn(every_form()),
                         [](const auto& info) { return "form" + std::to_string(info.index); });

TEST(Attention, ForwardIsTheUnshiftedFormula) {
  // The exp map's scales and running maximum must cancel: compare with φ = exp(±u) in fp64, nothing subtracted.
  for (const bool gate : {false, true}) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = gate}, 5);
    const auto input = random_rows(80, 6);
    std::vector<at::Tensor> w;
    for (auto& [name, tensor] : attention.parameters()) w.push_back(tensor->to(at::kDouble));
    OperatorInput plain;
    plain.q = input.q;
    plain.k = input.k;
    plain.v = input.v;
    plain.phi_q = plain_features("hedgehog-exp", input.q.to(at::kDouble), w[0], w[1]);
    plain.phi_k = plain_features("hedgehog-exp", input.k.to(at::kDouble), w[2], w[3]);
    if (gate) {
      plain.log_gate = at::log_sigmoid(at::matmul(input.x.to(at::kDouble), w[4].t() / std::sqrt(double(kHidden))) + 10 * w[5])
                           .transpose(1, 2);
    }
    std::vector<std::int64_t> rows(80);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
    const auto expected = at::matmul(operator_weights(plain, rows).weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
    EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
  }
}

TEST(Attention, MapsInTheKernelGiveWhatFeaturesGive) {
  // operator_input() has φ as tensors, forward() leaves the maps to the kernel. Both are fp32. The gate's gradient sums
  // differences that cancel over all rows, hence its wider bound; the operator's own test holds it to fp64.
  auto forms = every_form();
  std::erase_if(forms, [](const AttentionConfig& form) {
    return form.kind != AttentionKind::kSoftmax && !feature_map_named(form.feature_map).map->activation;
  });
  for (const auto* name : {"hedgehog-softmax", "hedgehog-joint", "hedgehog-exp"}) {
    forms.push_back({.kind = AttentionKind::kLinear, .feature_map = name, .causal = false});
  }
#ifdef __SANITIZE_ADDRESS__
  const std::vector<std::int64_t> lengths = {1, 65, 200};  // the long one takes minutes
#else
  const std::vector<std::int64_t> lengths = {1, 17, 64, 65, 200, 1100};
#endif
  for (const auto& config : forms) {
    for (const std::int64_t length : lengths) {
      for (const bool packed : {false, true}) {
        SCOPED_TRACE(to_string(config.kind) + " " + config.feature_map + (config.causal ? " " : " bidirectional ") +
                     std::to_string(length) + (packed ? " packed" : ""));
        auto attention = perturbed(config, 5);
        auto input = random_rows(length, 6);
        if (packed) {
          const auto start = at::arange(length, at::kInt);
          input.segment_start = at::where(start.lt(70), at::where(start.lt(3), 0, 3), at::where(start.lt(600), 70, 600))
                                    .to(at::kInt)
                                    .expand({2, length});
        }
        std::vector<at::Tensor> leaves = {input.q, input.k, input.v};
        std::vector<std::string> names = {"q", "k", "v"};
        for (auto& [name, tensor] : attention.parameters()) {
          leaves.push_back(*tensor);
          names.push_back(name);
        }
        for (auto& leaf : leaves) leaf.requires_grad_(true);
        const auto direction = at::randn_like(input.q);
        const auto expected = attention_operator(attention.operator_input(input));
        torch::autograd::backward({expected}, {direction});
        std::vector<at::Tensor> wanted;
        double scale = 0;
        for (auto& leaf : leaves) {
          wanted.push_back(leaf.grad().defined() ? leaf.grad().clone() : at::zeros_like(leaf));
          scale = std::max(scale, wanted.back().abs().max().item<double>());
          leaf.mutable_grad() = at::Tensor();
        }
        const auto found = attention.forward(input);
        EXPECT_LE(relative_error(found.detach(), expected.detach()), 1e-5);
        torch::autograd::backward({found}, {direction});
        for (std::size_t n = 0; n < leaves.size(); ++n) {
          const auto gradient = leaves[n].grad().defined() ? leaves[n].grad() : at::zeros_like(leaves[n]);
          EXPECT_LE((gradient - wanted[n]).abs().max().item<double>(), (names[n].starts_with("gate") ? 1e-3 : 5e-5) * scale)
              << names[n];
        }
      }
    }
  }
}

TEST(Attention, IdentityDividesBySumsBelowZero) {
  Attention attention({.kind = AttentionKind::kLinear, .feature_map = "identity"}, kHeads, kKeyHeads, kDim, kHidden);
  auto input = random_rows(90, 6);
  input.k = input.k * 0.1 + 1;
  input.q = (input.q * 0.1 + 1) * at::where(at::arange(90).remainder(2).eq(0), 1.0, -1.0).to(at::kFloat).unsqueeze(-1);
  OperatorInput plain;
  plain.q = plain.phi_q = input.q;
  plain.k = plain.phi_k = input.k;
  plain.v = input.v;
  std::vector<std::int64_t> rows(90);
  std::iota(rows.begin(), rows.end(), 0);
  const auto weights = operator_weights(plain, rows).weights;
  EXPECT_NEAR(weights.sum(-1).min().item<double>(), 1, 1e-9);
  const auto expected = at::matmul(weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
  EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
  AttentionState state;
  std::vector<at::Tensor> pieces;
  for (std::int64_t begin = 0; begin < 90; begin += 45)
    pieces.push_back(attention.continue_from(state, slice(input, begin, begin + 45)));
  EXPECT_LE(relative_error(at::cat(pieces, 2), expected), 1e-5);
}

// Every map in the bidirectional form, with documents: each document by itself.
TEST(Attention, BidirectionalMapsKeepToTheirDocument) {
  for (const auto& name : stable_maps()) {
    const auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = name, .causal = false}, 5);
    auto input = random_rows(90, 6);
    const auto first = attention.forward(slice(input, 0, 40)), second = attention.forward(slice(input, 40, 90));
    input.segment_start = at::where(at::arange(90, at::kInt).lt(40), 0, 40).to(at::kInt).expand({2, 90});
    EXPECT_LE(relative_error(attention.forward(input), at::cat({first, second}, 2)), 1e-5) << name;
    EXPECT_GT(relative_error(attention.forward(random_rows(90, 6)).slice(2, 40), second), 1e-3) << name;
  }
}

TEST(Attention, ADocumentsLargeKeysDoNotDrownAnothers) {
  // exp(u) of the first document's keys is beyond the second's by more than fp32 holds.
  for (const bool causal : {true, false}) {
    const AttentionConfig config{.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .causal = causal};
    const auto attention = perturbed(config, 5);
    auto input = random_rows(90, 6);
    input.k.slice(2, 0, 40).mul_(100);
    const auto alone = attention.forward(slice(input, 40, 90));
    input.segment_start = at::where(at::arange(90, at::kInt).lt(40), 0, 40).to(at::kInt).expand({2, 90});
    EXPECT_LE(relative_error(attention.forward(input).slice(2, 40, 90), alone), 1e-5) << causal;
  }
}

TEST(Attention, HybridsLinearPartIsScaledByTheQuery) {
  const auto input = random_rows(80, 6);
  auto attention = perturbed({.kind = AttentionKind::kHybrid, .window = 9, .sinks = 2}, 5);
  std::map<std::string, at::Tensor> w;
  for (auto& [name, tensor] : attention.parameters()) w[name] = tensor->to(at::kDouble);
  OperatorInput plain;
  plain.q = input.q;
  plain.k = input.k;
  plain.v = input.v;
  plain.window = 9;
  plain.sinks = 2;
  const at::Tensor q = input.q.to(at::kDouble);
  plain.phi_q = plain_features("hedgehog-softmax", q, w["q_map.weight"], w["q_map.bias"]);
  plain.phi_k = plain_features("hedgehog-softmax", input.k.to(at::kDouble), w["k_map.weight"], w["k_map.bias"]);
  plain.row_log_scale =
      at::einsum("bhnd,hd->bhn", {q, w["mix.weight"]}) / std::sqrt(double(q.size(3))) + w["mix.bias"].unsqueeze(-1);
  std::vector<std::int64_t> rows(80);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  const auto expected = at::matmul(operator_weights(plain, rows).weights, input.v.to(at::kDouble).repeat_interleave(2, 1));
  EXPECT_LE(relative_error(attention.forward(input), expected), 1e-5);
}

TEST(Attention, StaysFiniteOnLargeScores) {
  for (const auto& config : every_form()) {
    const auto attention = perturbed(config, 2);
    EXPECT_TRUE(at::isfinite(attention.forward(random_rows(70, 3, 1e3))).all().item<bool>()) << config.feature_map;
  }
}

TEST(Attention, DistillationGradientIsTheSlopeOfItsLoss) {
  for (const AttentionConfig& config :
       {AttentionConfig{.kind = AttentionKind::kLinear},
        AttentionConfig{.kind = AttentionKind::kLinear, .feature_map = "hedgehog-exp", .gate = true},
        AttentionConfig{.kind = AttentionKind::kHybrid, .feature_map = "hedgehog-joint", .window = 8, .sinks = 2, .gate = true},
        AttentionConfig{.kind = AttentionKind::kHybrid, .feature_map = "hedgehog-exp", .window = 8}}) {
    for (const auto& [weights, outputs] : {std::pair{1.0, 0.0}, {0.0, 1.0}, {0.5, 2.0}}) {
      auto attention = perturbed(config, 8);
      const auto input = random_rows(70, 9);
      for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
      attention.distill(input, weights, outputs, 1.0);
      for (auto& [name, tensor] : attention.parameters()) {
        ASSERT_TRUE(tensor->grad().defined()) << name;
        const auto direction = at::randn_like(*tensor);
        const auto slope = (tensor->grad() * direction).sum().item<double>();
        const auto loss_at = [&](double step) {
          const at::NoGradGuard guard;
          tensor->add_(direction, step);
          const auto loss = attention.distill(input, weights, outputs, 0.0);
          tensor->add_(direction, -step);
          return weights * loss.cross_entropy + outputs * loss.output_error;
        };
        const double step = 2e-3, measured = (loss_at(step) - loss_at(-step)) / (2 * step);
        EXPECT_NEAR(slope, measured, 0.03 * std::max(0.02, std::abs(measured))) << name << " of " << config.feature_map;
      }
    }
  }
}

// T2R is not in the kernels, and its slopes have corners: against autograd of the definition.
TEST(Attention, DistillationReachesMapsThatAreGivenAsFeatures) {
  for (const bool causal : {true, false}) {
    auto attention = perturbed({.kind = AttentionKind::kLinear, .feature_map = "t2r", .feature_dim = 40, .causal = causal}, 8);
    const auto input = random_rows(70, 9);
    for (auto& [name, tensor] : attention.parameters()) tensor->requires_grad_(true);
    const auto loss = attention.distill(input, 1, 0, 1);
    std::vector<at::Tensor> found;
    for (auto& [name, tensor] : attention.parameters()) {
      found.push_back(tensor->grad().clone());
      tensor->mutable_grad() = at::Tensor();
    }
    std::vector<std::int64_t> rows(70);
    std::iota(rows.begin(), rows.end(), 0);
    const Attention softmax({.causal = causal}, kHeads, kKeyHeads, kDim, kHidden);
    const auto p = operator_weights(softmax.operator_input(input), rows).weights;
    const auto a = operator_weights(attention.operator_input(input), rows).weights;
    const auto expected = -(p * a.clamp_min(1e-12).log()).sum(-1).mean();
    EXPECT_NEAR(loss.cross_entropy, expected.item<double>(), 1e-4);
    torch::autograd::backward({expected}, {});
    for (std::size_t n = 0; n < found.size(); ++n) {
      EXPECT_LE(relative_error(found[n], attention.parameters()[n].second->grad()), 1e-3) << causal << " " << n;
    }
  }
}

TEST(Attention, ControlsLeaveOutWhatTheySay) {
  const auto hybrid = perturbed({.kind = AttentionKind::kHybrid, .window = 8, .sinks = 2}, 2);
  const auto input = random_rows(60, 3);
  const Attention window_only({.window = 8}, kHeads, kKeyHeads, kDim, kHidden);
  const auto linear_removed = hybrid.forward(input, AttentionControl::kLinearRemoved);
  // Row 8 of a window of 8 with two sinks sees keys 0..8 but no linear part: softmax over all of its keys.
  const Attention softmax({}, kHeads, kKeyHeads, kDim, kHidden);
  EXPECT_LE(relative_error(linear_removed.slice(2, 0, 9), softmax.forward(input).slice(2, 0, 9)), 1e-5);
  EXPECT_EQ(hybrid.forward(input, AttentionControl::kNoAttention).abs().max().item<float>(), 0);
  EXPECT_GT((hybrid.forward(input, AttentionControl::kWindowRemoved) - hybrid.forward(input)).abs().max().item<float>(), 1e-3);
  // Sinks without a window: what is left without the linear part are the first two keys, and not all keys.
  const auto sinks = perturbed({.kind = AttentionKind::kHybrid, .sinks = 2}, 2);
  AttentionInput first = input;
  first.k = input.k.slice(2, 0, 2);
  first.v = input.v.slice(2, 0, 2);
  const auto scores = at::matmul(input.q, to_query_heads(first.k, kHeads).transpose(-1, -2)) / std::sqrt(double{kDim});
  const auto expected = at::matmul(scores.softmax(-1), to_query_heads(first.v, kHeads));
  EXPECT_LE(relative_error(sinks.forward(input, AttentionControl::kLinearRemoved).slice(2, 2), expected.slice(2, 2)), 1e-5);
  EXPECT_EQ(softmax.forward(input, AttentionControl::kNoAttention).abs().max().item<float>(), 0) << "layers that keep softmax";
}

TEST(Attention, DistillationImitatesTheBaseModelsWindow) {
  auto linear = perturbed({.kind = AttentionKind::kLinear}, 2);
  const auto input = random_rows(60, 3);
  const Attention windowed({.window = 8}, kHeads, kKeyHeads, kDim, kHidden);
  const auto wanted = windowed.forward(input), found = linear.forward(input);
  const double error = ((found - wanted).square().sum() / wanted.square().sum()).item<double>();
  EXPECT_NEAR(linear.distill(input, 0, 1, 0, 8).output_error, error, 1e-5 * error);
  EXPECT_GT(linear.distill(input, 1, 0, 0, 8).kl, linear.distill(input, 1, 0, 0).kl + 1e-3);
}

TEST(Attention, SenselessConfigurationsAreErrors) {
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .window = 4}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kHybrid}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .feature_map = "x"}, 4, 2, 16, 24), Error);
  EXPECT_THROW(Attention({.kind = AttentionKind::kLinear, .feature_map = "elu", .feature_dim = 8}, 4, 2, 16, 24), Error);
  EXPECT_THROW(attention_kind("sparse"), Error);
}

}  // namespace
}  // namespace hedgehog
