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

std::vector<HeadFidelity> heads_of(const AttentionConfig& config, double spread, const Change& change = {}) {
  Attention attention(config, kHeads, kHeads, kDim, kDim);
  for (auto& [name, tensor] : attention.parameters()) {
    if (change) change(name, *tensor);
  }
  LayerFidelity layer(0, attention, 0);
  layer.add(random_rows(spread));
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
  EXPECT_TRUE(verdicts(heads_of({}, 2), 0).empty());
  EXPECT_TRUE(verdicts(heads_of(linear("taylor"), 0.2), 0).empty());
  const auto lines = in_words({}, 2, 5);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("None of the 2 heads fails"), std::string::npos);
}

TEST(Verdicts, AFlattenedMapIsNotSpiky) {
  // Almost 0: the weights are still in the order of q·k.
  const auto heads = heads_of(linear(), 4, [](const std::string& name, at::Tensor& weight) {
    if (name.ends_with("map.weight")) weight.mul_(0.05);
  });
  EXPECT_GE(heads[0].monotonicity, kLeastMonotonicity);
  expect_all(verdicts(heads, 0), Cause::kNotSpiky);
}

TEST(Verdicts, APermutedMapIsNotMonotonic) {
  const auto heads = heads_of(linear(), 4, [](const std::string& name, at::Tensor& weight) {
    if (name == "k_map.weight") weight.copy_(weight.roll(3, 1));
  });
  expect_all(verdicts(heads, 0), Cause::kNotMonotonic);
}

TEST(Verdicts, AnEntropyFarBelowSoftmaxIsTooSpiky) {
  HeadFidelity spiky;
  spiky.kl = 1;
  spiky.monotonicity = 1;
  spiky.entropy_softmax = 2;
  spiky.entropy_linear = 0.5;
  spiky.effective_rank = 4;
  EXPECT_EQ(verdicts({spiky}, 0).at(0).cause, Cause::kTooSpiky);
}

TEST(Verdicts, ALinearPartWithoutWeightIsDead) {
  const AttentionConfig hybrid{.kind = AttentionKind::kHybrid, .window = 8};
  const auto dead = heads_of(hybrid, 2, [](const std::string& name, at::Tensor& weight) {
    if (name.starts_with("mix")) weight.fill_(name.ends_with("bias") ? -1e4 : 0);
  });
  expect_all(verdicts(dead, hybrid.window), Cause::kDeadLinearPart);
}

TEST(Verdicts, AStateOfOneDirectionIsPoor) {
  AttentionInput input = random_rows(0.01);
  input.v = input.v.narrow(2, 0, 1).expand({1, kHeads, kLength, kDim}) * at::linspace(-1, 1, kLength).view({1, 1, kLength, 1});
  const Attention attention(linear(), kHeads, kHeads, kDim, kDim);
  LayerFidelity layer(0, attention, 0);
  layer.add(input);
  auto heads = layer.heads();
  for (HeadFidelity& head : heads) {
    EXPECT_NEAR(head.effective_rank, 1, 1e-6);
    head.kl = 1;  // fails, of no other cause
    head.monotonicity = 1;
    head.inverted_pairs = 0;
    head.entropy_linear = head.entropy_softmax;
  }
  expect_all(verdicts(heads, 0), Cause::kPoorState);
}

TEST(Verdicts, WhatFailsAtALongerLengthOnlyIsOutOfTraining) {
  HeadFidelity good, bad;
  good.kl = 0.2;
  bad.kl = 0.5;
  bad.layer = good.layer = 3;
  for (HeadFidelity* head : {&good, &bad}) {
    head->monotonicity = 0.95;
    head->effective_rank = 5;
  }
  EXPECT_EQ(verdicts({bad}, 0, {good}).at(0).cause, Cause::kOutOfTrainingLength);
  EXPECT_EQ(verdicts({bad}, 0, {bad}).at(0).cause, Cause::kUnlike);
  EXPECT_EQ(verdicts({bad}, 0).at(0).cause, Cause::kUnlike);
  EXPECT_THROW(verdicts({bad}, 0, {good, good}), Error);
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
