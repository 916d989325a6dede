// Each failure is made, and found by its name.
#include "hedgehog/analysis/verdicts.h"

#include "hedgehog/analysis/layer_fidelity.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace hedgehog {
namespace {

constexpr std::int64_t kHeads = 2, kDim = 8, kLength = 96;

// Scores spread by `spread` nats.
AttentionInput random_rows(double spread) {
  const auto random = at::detail::createCPUGenerator(23);
  const auto tensor = [&](double deviation) { return deviation * at::randn({1, kHeads, kLength, kDim}, random, at::kFloat); };
  const double deviation = std::sqrt(spread);
  return {tensor(deviation), tensor(deviation), tensor(1), at::zeros({1, kLength, kDim}), {}};
}

using Change = std::function<void(const std::string& name, at::Tensor& weight)>;

std::vector<HeadFidelity> heads_of(const AttentionConfig& config, const AttentionInput& input, const Change& change = {}) {
  Attention attention(config, kHeads, kHeads, kDim, kDim);
  for (auto& [name, tensor] : attention.parameters()) {
    if (change) change(name, *tensor);
  }
  LayerFidelity layer(0, attention, 0);
  layer.add(input);
  return layer.heads();
}

void expect_all(const std::vector<Verdict>& found, Cause cause) {
  ASSERT_EQ(found.size(), static_cast<std::size_t>(kHeads));
  for (const Verdict& verdict : found) EXPECT_EQ(to_string(verdict.cause), to_string(cause)) << verdict.seen;
}

AttentionConfig linear(const std::string& map = "hedgehog-softmax") {
  return {.kind = AttentionKind::kLinear, .feature_map = map};
}

TEST(Verdicts, OfSoftmaxAndOfWhatIsLikeItThereAreNone) {
  EXPECT_TRUE(verdicts(heads_of({}, random_rows(2)), 0).empty());
  EXPECT_TRUE(verdicts(heads_of(linear("taylor"), random_rows(0.2)), 0).empty());
  const auto lines = in_words({}, 2, 5);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("None of the 2 heads fails"), std::string::npos);
}

TEST(Verdicts, AFlattenedMapIsNotSpiky) {
  // Almost 0: the weights are still in the order of q·k.
  const auto heads = heads_of(linear(), random_rows(4), [](const std::string& name, at::Tensor& weight) {
    if (name.ends_with("map.weight")) weight.mul_(0.05);
  });
  EXPECT_GE(heads[0].monotonicity, kLeastMonotonicity);
  expect_all(verdicts(heads, 0), Cause::kNotSpiky);
}

TEST(Verdicts, APermutedMapIsNotMonotonic) {
  const auto heads = heads_of(linear(), random_rows(4), [](const std::string& name, at::Tensor& weight) {
    if (name == "k_map.weight") weight.copy_(weight.roll(3, 1));
  });
  expect_all(verdicts(heads, 0), Cause::kNotMonotonic);
}

TEST(Verdicts, AMapOfALowTemperatureIsTooSpiky) {
  // On one axis, where Σ exp(u) exp(u') rises with q·k: its slope in k is the map's weight, softmax's is q/√D.
  AttentionInput input = random_rows(1);
  for (at::Tensor* x : {&input.q, &input.k}) x->slice(3, 1).zero_();
  input.q.select(3, 0).fill_(3);
  const auto sharpened = [](const std::string& name, at::Tensor& weight) {
    if (name.ends_with("map.weight")) weight.mul_(4);
  };
  expect_all(verdicts(heads_of(linear("hedgehog-exp"), input, sharpened), 0), Cause::kTooSpiky);
}

TEST(Verdicts, ALinearPartWithoutWeightIsDead) {
  const AttentionConfig hybrid{.kind = AttentionKind::kHybrid, .window = 8};
  const auto dead = heads_of(hybrid, random_rows(2), [](const std::string& name, at::Tensor& weight) {
    if (name.starts_with("mix")) weight.fill_(name.ends_with("bias") ? -1e4 : 0);
  });
  expect_all(verdicts(dead, hybrid.window), Cause::kDeadLinearPart);
}

TEST(Verdicts, AStateOfOneDirectionIsPoor) {
  AttentionInput input = random_rows(1);
  input.v = input.v.slice(3, 0, 1).expand_as(input.v).contiguous();
  const auto heads = heads_of(linear(), input);
  for (const HeadFidelity& head : heads) EXPECT_NEAR(head.effective_rank, 1, 1e-6);
  expect_all(verdicts(heads, 0), Cause::kPoorState);
}

TEST(Verdicts, AHybridBeyondTheLengthOfItsWindowIsOutOfTraining) {
  const AttentionConfig hybrid{.kind = AttentionKind::kHybrid, .window = 32};
  const AttentionInput all = random_rows(1.5);
  AttentionInput within = all;
  for (at::Tensor* x : {&within.q, &within.k, &within.v}) *x = x->slice(2, 0, hybrid.window);
  const auto longer = heads_of(hybrid, all), trained = heads_of(hybrid, within);
  expect_all(verdicts(longer, hybrid.window, trained), Cause::kOutOfTrainingLength);
  expect_all(verdicts(longer, hybrid.window, longer), Cause::kUnlike);
  expect_all(verdicts(longer, hybrid.window), Cause::kUnlike);
  EXPECT_TRUE(verdicts(trained, hybrid.window).empty());
  EXPECT_THROW(verdicts({longer.front()}, hybrid.window, longer), Error);
}

TEST(Verdicts, WhatFailsOnLongerRowsAloneIsOutOfTrainingWhateverItLooksLikeThere) {
  std::vector<HeadFidelity> longer(1), trained(1);
  longer[0].kl = 1;
  longer[0].monotonicity = 0.1;
  trained[0].kl = 0.1;
  EXPECT_EQ(verdicts(longer, 0, trained).at(0).cause, Cause::kOutOfTrainingLength);
  trained[0].kl = kFailingKl;
  EXPECT_EQ(verdicts(longer, 0, trained).at(0).cause, Cause::kNotMonotonic);
}

TEST(Verdicts, InWordsTheWorstComeFirstAndTheRestIsCounted) {
  std::vector<HeadFidelity> heads(4);
  for (std::size_t i = 0; i < heads.size(); ++i) {
    heads[i].head = static_cast<std::int64_t>(i);
    heads[i].kl = 0.3 + 0.1 * static_cast<double>(i);
    heads[i].monotonicity = 0.1;
  }
  const auto found = verdicts(heads, 0);
  const auto lines = in_words(found, 10, 2);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_NE(lines[0].find("4 of 10 heads fail"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("4 not monotonic"), std::string::npos) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("layer 0, head 3: not monotonic (rank correlation with q·k 0.10")) << lines[1];
  EXPECT_NE(lines[1].find("--keep-softmax"), std::string::npos) << lines[1];
  EXPECT_EQ(lines[3], "and 2 more");
  const auto json = to_json(found);
  EXPECT_EQ(json[0]["head"], 3);
  EXPECT_EQ(json[0]["cause"], "not monotonic");
}

}  // namespace
}  // namespace hedgehog
