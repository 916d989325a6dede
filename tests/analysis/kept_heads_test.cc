#include "hedgehog/analysis/kept_heads.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

namespace hedgehog {
namespace {

using testing::error_of;

constexpr std::int64_t kExamples = 24;

TokenExamples random_examples(bool classes) {
  TokenExamples examples(classes, 0);
  Random random{5, 0};
  for (std::int64_t i = 0; i < kExamples; ++i) {
    std::vector<std::int32_t> tokens;
    for (std::uint64_t n = 0, length = 6 + random.below(8); n < length; ++n) {
      tokens.push_back(static_cast<std::int32_t>(1 + random.below(29)));
    }
    examples.add(tokens, {}, static_cast<double>(random.below(2)));
  }
  return examples;
}

/// Of two layers and four heads, linear but for `softmax`.
std::unique_ptr<Classifier> linear_model(std::int64_t labels, const std::vector<KeptSoftmax>& softmax = {}) {
  auto model = make_classifier({{"model_type", "bert"},
                                {"vocab_size", 30},
                                {"max_position_embeddings", 16},
                                {"hidden_size", 32},
                                {"num_hidden_layers", 2},
                                {"num_attention_heads", 4},
                                {"intermediate_size", 48},
                                {"num_labels", labels},
                                {"initializer_range", 0.4}},
                               3);
  model->set_attention({.kind = AttentionKind::kLinear}, softmax);
  return model;
}

at::Tensor predictions(const Classifier& model, const Examples& examples) {
  const at::NoGradGuard no_gradients;
  std::vector<std::int64_t> rows(kExamples);
  std::iota(rows.begin(), rows.end(), 0);
  return model.forward(examples.batch(rows).input).to(at::kDouble);
}

double distance_of(const Classifier& model, const Examples& examples) {
  const at::Tensor found = predictions(model, examples), wanted = predictions(*model.teacher(), examples);
  if (model.labels() == 1) return (found - wanted).square().mean().item<double>();
  const at::Tensor p = wanted.softmax(-1);
  return (p * (wanted.log_softmax(-1) - found.log_softmax(-1))).sum(-1).mean().item<double>();
}

KeptHeadsConfig heads(std::int64_t count) {
  return {.count = count, .examples = 100, .batch = 7};
}

class KeptHeadsTest : public ::testing::TestWithParam<std::int64_t> {};  // labels

TEST_P(KeptHeadsTest, TheFirstIsTheOneThatBringsTheModelNearest) {
  Progress silent;
  const TokenExamples examples = random_examples(GetParam() > 1);
  const auto model = linear_model(GetParam(), {{0}});
  const double before = distance_of(*model, examples);
  double best = before;
  std::int64_t best_head = -1;
  for (std::int64_t head = 0; head < 4; ++head) {
    const auto changed = linear_model(GetParam(), {{0}});
    keep_heads(*changed, KeptHeads{0, {{{1, head}, 0}}});
    if (const double distance = distance_of(*changed, examples); distance < best) {
      best = distance;
      best_head = head;
    }
  }
  const KeptHeads kept = keep_heads(*model, examples, heads(1), silent);
  ASSERT_EQ(kept.heads.size(), 1u);
  EXPECT_EQ(kept.heads[0].what, (KeptSoftmax{1, best_head}));
  EXPECT_NEAR(kept.distance, before, 1e-4 * before);
  EXPECT_NEAR(kept.heads[0].distance, best, 1e-4 * best);
  EXPECT_NEAR(distance_of(*model, examples), best, 1e-4 * best);
  EXPECT_EQ(model->attentions()[1]->config().softmax_heads, std::vector<std::int64_t>{best_head});
}

TEST_P(KeptHeadsTest, MoreHeadsBringItNearerAndCanBeKeptAgain) {
  Progress silent;
  const TokenExamples examples = random_examples(GetParam() > 1);
  const auto model = linear_model(GetParam());
  const KeptHeads kept = keep_heads(*model, examples, heads(5), silent);
  ASSERT_GE(kept.heads.size(), 2u);
  ASSERT_LE(kept.heads.size(), 5u);
  double distance = kept.distance;
  for (const KeptHead& head : kept.heads) {
    EXPECT_LT(head.distance, distance) << to_string(head.what);
    distance = head.distance;
  }
  const auto again = linear_model(GetParam());
  keep_heads(*again, kept_heads(to_json(kept)));
  EXPECT_TRUE(at::equal(predictions(*again, examples), predictions(*model, examples)));
  EXPECT_EQ(to_json(kept_heads(to_json(kept))), to_json(kept));
}

TEST_P(KeptHeadsTest, SoftmaxHasNothingToKeep) {
  Progress silent;
  const auto model = linear_model(GetParam());
  model->set_attention({});
  const KeptHeads kept = keep_heads(*model, random_examples(GetParam() > 1), heads(3), silent);
  EXPECT_TRUE(kept.heads.empty());
  EXPECT_NEAR(kept.distance, 0, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Labels, KeptHeadsTest, ::testing::Values(1, 3));

TEST(KeptHeads, RefusesWhatItCannotDo) {
  Progress silent;
  const auto model = linear_model(3);
  EXPECT_NE(error_of([&] { keep_heads(*model, random_examples(true), heads(0), silent); }).find("at least 1 head"),
            std::string::npos);
  EXPECT_NE(error_of([&] { keep_heads(*model, KeptHeads{0, {{{7, 0}, 0}}}); }).find("from 0 to 1, found 7"), std::string::npos);
  EXPECT_NE(error_of([&] { kept_heads({{"distance", 1}}); }).find("damaged"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
