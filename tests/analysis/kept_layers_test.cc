#include "hedgehog/analysis/kept_layers.h"

#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/perplexity.h"
#include "tests/inference/tiny_model.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::tiny_model;

constexpr std::int64_t kTokens = 1024;                           // of the budget's context
constexpr std::int64_t kSoftmaxBytes = 2 * 2 * 8 * kTokens * 4;  // keys and values, 2 heads of 8, fp32

AttentionConfig attention_of(AttentionKind kind, std::int64_t window = 0) {
  AttentionConfig config;
  config.kind = kind;
  config.window = window;
  return config;
}

constexpr double kSure = 1;  // scale of a model whose predictions say something

/// What the softmax model writes: any change of its attention makes it less likely.
Corpus text() {
  const Decoder model = tiny_model({}, kSure);
  const at::NoGradGuard no_gradients;
  at::manual_seed(3);
  Corpus corpus;
  corpus.document_starts = {0};
  std::vector<AttentionState> states;
  at::Tensor token = at::full({1, 1}, 7, at::kLong);
  for (int i = 0; i < 256; ++i) {
    corpus.tokens.push_back(static_cast<std::int32_t>(token.item<std::int64_t>()));
    const at::Tensor logits = model.logits(model.continue_from(states, token)).flatten();
    token = (logits - at::rand({logits.size(0)}).log().neg().log()).argmax().view({1, 1});  // Gumbel's way to draw one
  }
  return corpus;
}

KeptLayersConfig budget(std::int64_t bytes) {
  return {{bytes, kTokens}, 256, 256};
}

double loss_of(const Decoder& model, const Corpus& corpus) {
  Progress silent;
  return std::log(perplexity(model, corpus, {256, 256, 4}, silent).perplexity);
}

/// The one of `choices` that lowers the loss most for its bytes.
LayerChange best_of(const Decoder& model, const Corpus& corpus, const std::vector<std::string>& choices) {
  const double before = loss_of(model, corpus);
  LayerChange best;
  double best_gain = 0;
  for (const std::string& text : choices) {
    Decoder changed = model;
    change_layer(changed, kept_softmax(text), 0);
    const double loss = loss_of(changed, corpus);
    const std::int64_t bytes = context_bytes(changed, kTokens);
    const double gain = (before - loss) / static_cast<double>(bytes - context_bytes(model, kTokens));
    if (gain <= best_gain) continue;
    best_gain = gain;
    best = {kept_softmax(text), 0, loss, bytes};
  }
  return best;
}

void expect_same(const LayerChange& found, const LayerChange& expected) {
  EXPECT_EQ(to_string(found.what), to_string(expected.what));
  EXPECT_EQ(found.window, 0);
  EXPECT_EQ(found.bytes, expected.bytes);
  EXPECT_NEAR(found.loss, expected.loss, 1e-6);
}

Decoder ruined_model(std::size_t layer) {
  Decoder model = tiny_model(attention_of(AttentionKind::kLinear), kSure);
  const at::NoGradGuard no_gradients;
  model.layers()[layer].attention.parameters()[0].second->mul_(-3);  // the queries' map alone: the likest keys get least
  return model;
}

TEST(KeptLayers, TheFirstIsTheOneThatLowersTheLossMostForItsBytes) {
  Progress silent;
  const Corpus corpus = text();
  for (const std::size_t ruined : {0, 1}) {
    Decoder model = ruined_model(ruined);
    const std::int64_t before = context_bytes(model, kTokens);
    for (const bool heads : {true, false}) {
      KeptLayersConfig config = budget(before + kSoftmaxBytes);
      config.heads = heads;
      const KeptLayers kept = choose_kept_layers(model, corpus, config, silent);
      EXPECT_EQ(kept.bytes, before);
      EXPECT_NEAR(kept.loss, loss_of(model, corpus), 1e-6);
      ASSERT_FALSE(kept.changes.empty());
      const std::vector<std::string> layers = {"0", "1"}, all = {"0", "0.0", "0.1", "1", "1.0", "1.1"};
      expect_same(kept.changes[0], best_of(model, corpus, heads ? all : layers));
      EXPECT_LE(kept.changes.back().bytes, before + kSoftmaxBytes);
      Decoder last = model;
      change_layer(last, {1}, 0);
      ASSERT_EQ(kept.uniform.size(), 2u);
      for (const UniformChoice& choice : kept.uniform) {
        EXPECT_EQ(choice.layers, std::vector<std::int64_t>{1}) << choice.name;
        EXPECT_NEAR(choice.loss, loss_of(last, corpus), 1e-6);
        EXPECT_GE(choice.bytes, kept.changes.back().bytes);
      }
      EXPECT_EQ(context_bytes(model, kTokens), before) << "the model is not changed";
      Decoder changed = model;
      change_layers(changed, kept);
      EXPECT_EQ(context_bytes(changed, kTokens), kept.changes.back().bytes);
      EXPECT_EQ(to_json(kept_layers(to_json(kept))), to_json(kept));
    }
  }
}

TEST(KeptLayers, WhereThereIsRoomForAHeadOneIsKept) {
  Progress silent;
  const Corpus corpus = text();
  for (const std::size_t ruined : {0, 1}) {
    Decoder model = ruined_model(ruined);
    const KeptLayers kept =
        choose_kept_layers(model, corpus, budget(context_bytes(model, kTokens) + kSoftmaxBytes / 2), silent);
    ASSERT_EQ(kept.changes.size(), 1u);
    expect_same(kept.changes[0], best_of(model, corpus, {"0.0", "0.1", "1.0", "1.1"}));
    change_layers(model, kept);
    // What decoding keeps is what was counted.
    std::vector<AttentionState> states;
    model.continue_from(states, at::arange(0, 64).unsqueeze(0));
    const AttentionState& mixed = states[static_cast<std::size_t>(kept.changes[0].what.layer)];
    EXPECT_EQ(mixed.softmax_k.size(1), 1);
    EXPECT_EQ(mixed.linear.s.size(1), 1);
  }
}

TEST(KeptLayers, AHybridMayGetALongerWindow) {
  Progress silent;
  Decoder model = tiny_model(attention_of(AttentionKind::kHybrid, 4), kSure);
  const at::NoGradGuard no_gradients;
  for (auto& layer : model.layers()) {
    for (const auto& [name, weight] : layer.attention.parameters()) weight->mul_(-3);
  }
  // Not enough for a layer of softmax.
  const std::int64_t before = context_bytes(model, kTokens);
  const KeptLayers kept = choose_kept_layers(model, text(), budget(before + kSoftmaxBytes / 4), silent);
  ASSERT_FALSE(kept.changes.empty());
  for (const LayerChange& change : kept.changes) EXPECT_TRUE(change.window == 16 || change.window == 64) << change.window;
  const auto weights = model.layers()[0].attention.parameters();
  change_layers(model, kept);
  EXPECT_LE(context_bytes(model, kTokens), before + kSoftmaxBytes / 4);
  EXPECT_EQ(context_bytes(model, kTokens), kept.changes.back().bytes);
  const KeptLayers again = kept_layers(to_json(kept));
  EXPECT_EQ(to_json(again), to_json(kept));
}

TEST(KeptLayers, SayWhatIsWrong) {
  Progress silent;
  Decoder model = tiny_model(attention_of(AttentionKind::kLinear), kSure);
  EXPECT_NE(error_of([&] { choose_kept_layers(model, text(), budget(1000), silent); }).find("keeps"), std::string::npos);
  EXPECT_NE(error_of([&] { change_layer(model, {2}, 0); }).find("from 0 to 1"), std::string::npos);
  EXPECT_NE(error_of([&] { change_layer(model, {1, 2}, 0); }).find("layer 1"), std::string::npos);
  EXPECT_NE(error_of([&] { kept_layers({{"loss", 1}}); }).find("damaged"), std::string::npos);
}

}  // namespace
}  // namespace hedgehog
