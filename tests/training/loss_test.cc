#include "hedgehog/training/loss.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace hedgehog {
namespace {

struct Problem {
  at::Tensor hidden, weight, targets, teacher_hidden, teacher_weight;
};

/// More rows than one block, sizes that are no multiple of a vector, some rows without a target.
Problem problem() {
  at::manual_seed(3);
  Problem p{at::randn({300, 24}), at::randn({1003, 24}), at::randint(0, 1003, {300}, at::kLong), at::randn({300, 16}),
            at::randn({1003, 16})};
  p.targets.slice(0, 5, 300, 7).fill_(-100);
  return p;
}

struct Reference {
  double total, cross_entropy, kl;
  at::Tensor d_hidden, d_weight;
};

/// The same out of ATen's operators, in fp64, whole.
Reference reference(const Problem& p, double factor) {
  at::Tensor hidden = p.hidden.to(at::kDouble).requires_grad_(true), weight = p.weight.to(at::kDouble).requires_grad_(true);
  const at::Tensor rows = p.targets.ne(-100).nonzero().flatten();
  const at::Tensor log_q = at::log_softmax(at::mm(hidden, weight.t()), 1).index_select(0, rows);
  const at::Tensor log_p =
      at::log_softmax(at::mm(p.teacher_hidden.to(at::kDouble), p.teacher_weight.to(at::kDouble).t()), 1).index_select(0, rows);
  const at::Tensor cross_entropy = -log_q.gather(1, p.targets.index_select(0, rows).unsqueeze(1)).mean();
  const at::Tensor kl = (log_p.exp() * (log_p - log_q)).sum(1).mean();
  const at::Tensor total = (1 - factor) * cross_entropy + factor * kl;
  (3 * total).backward();
  return {total.item<double>(), cross_entropy.item<double>(), kl.item<double>(), hidden.grad(), weight.grad()};
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
}

TEST(LanguageModelLoss, MatchesFp64WithItsGradients) {
  for (const double factor : {0.0, 0.3, 1.0}) {
    const Problem p = problem();
    at::Tensor hidden = p.hidden.clone().requires_grad_(true), weight = p.weight.clone().requires_grad_(true);
    const LanguageModelLoss loss = language_model_loss(hidden, weight, p.targets, factor > 0 ? p.teacher_hidden : at::Tensor(),
                                                       factor > 0 ? p.teacher_weight : at::Tensor(), factor);
    (3 * loss.total).backward();
    const Reference expected = reference(p, factor);
    EXPECT_EQ(loss.tokens, p.targets.ne(-100).sum().item<std::int64_t>());
    EXPECT_NEAR(loss.cross_entropy, expected.cross_entropy, 1e-5 * expected.cross_entropy);
    EXPECT_NEAR(loss.kl, factor > 0 ? expected.kl : 0, 1e-5 * expected.kl);
    EXPECT_NEAR(loss.total.item<double>(), expected.total, 1e-5 * expected.total);
    EXPECT_LT(relative_difference(hidden.grad(), expected.d_hidden), 2e-5) << factor;
    EXPECT_LT(relative_difference(weight.grad(), expected.d_weight), 2e-5) << factor;
  }
}

TEST(LanguageModelLoss, ExtremeLogitsStayFinite) {
  Problem p = problem();
  p.hidden *= 1e3;
  at::Tensor hidden = p.hidden.clone().requires_grad_(true);
  const LanguageModelLoss loss =
      language_model_loss(hidden, p.weight, p.targets, p.teacher_hidden * 1e3, p.teacher_weight, 0.5);
  loss.total.backward();
  EXPECT_TRUE(std::isfinite(loss.total.item<double>()));
  EXPECT_TRUE(hidden.grad().isfinite().all().item<bool>());
  EXPECT_NEAR(loss.cross_entropy, reference(p, 0).cross_entropy, 1e-5 * loss.cross_entropy);
}

// Also of a model in mixed precision, whose weights stay fp32.
TEST(LanguageModelLoss, Bf16IsNearFp64) {
  for (const at::ScalarType weights : {at::kBFloat16, at::kFloat}) {
    for (const double factor : {0.0, 0.5}) {
      Problem p = problem();
      at::Tensor hidden = p.hidden.to(at::kBFloat16).requires_grad_(true);
      at::Tensor weight = p.weight.to(at::kBFloat16).to(weights).requires_grad_(true);
      const at::Tensor teacher_hidden = p.teacher_hidden.to(at::kBFloat16);
      p.hidden = hidden.detach().to(at::kFloat);
      p.weight = weight.detach().to(at::kFloat);
      const LanguageModelLoss loss = language_model_loss(hidden, weight, p.targets, teacher_hidden, p.teacher_weight, factor);
      (3 * loss.total).backward();
      const Reference expected = reference(p, factor);
      EXPECT_NEAR(loss.cross_entropy, expected.cross_entropy, 1e-2 * expected.cross_entropy);
      EXPECT_EQ(hidden.grad().scalar_type(), at::kBFloat16);
      EXPECT_EQ(weight.grad().scalar_type(), weights);
      EXPECT_LT(relative_difference(hidden.grad(), expected.d_hidden), 2e-2);
      EXPECT_LT(relative_difference(weight.grad(), expected.d_weight), 2e-2);
    }
  }
}

TEST(LanguageModelLoss, WithoutTargetsIsZero) {
  Problem p = problem();
  p.targets.fill_(-100);
  at::Tensor hidden = p.hidden.clone().requires_grad_(true);
  const LanguageModelLoss loss = language_model_loss(hidden, p.weight, p.targets, {}, {}, 0);
  loss.total.backward();
  EXPECT_EQ(loss.tokens, 0);
  EXPECT_EQ(loss.total.item<double>(), 0);
  EXPECT_EQ(hidden.grad().abs().max().item<double>(), 0);
}

TEST(LanguageModelLoss, RefusesTargetsOutsideTheVocabulary) {
  Problem p = problem();
  p.targets[3] = 1003;
  EXPECT_THROW(language_model_loss(p.hidden, p.weight, p.targets, {}, {}, 0), Error);
}

}  // namespace
}  // namespace hedgehog
