// Feature maps: their formulas, their gradients, the functions of q·k that they stand for, and Taylor's two forms.
#include "hedgehog/attention/feature_map.h"

#include "hedgehog/attention/attention.h"
#include "hedgehog/base/error.h"
#include "tests/attention/plain_features.h"
#include "tests/attention/random_input.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <array>

namespace hedgehog {
namespace {

using testing::kDim;
using testing::kHeads;
using testing::kKeyHeads;
using testing::plain_features;
using testing::relative_error;

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
                            kSmall, /*hidden=*/24);
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

}  // namespace
}  // namespace hedgehog
