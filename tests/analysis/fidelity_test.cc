#include "hedgehog/analysis/fidelity.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/evaluation/correlation.h"
#include "tests/inference/tiny_model.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hedgehog {
namespace {

using testing::tiny_model;

Corpus random_corpus(std::int64_t tokens, std::vector<std::int64_t> starts = {0}) {
  Corpus corpus;
  Random random{17};
  for (std::int64_t i = 0; i < tokens; ++i) corpus.tokens.push_back(static_cast<std::int32_t>(random.below(256)));
  corpus.document_starts = std::move(starts);
  return corpus;
}

AttentionConfig converted(AttentionKind kind, std::int64_t window = 0) {
  AttentionConfig config;
  config.kind = kind;
  config.window = window;
  return config;
}

TEST(Fidelity, SoftmaxIsFaithfulToItself) {
  Progress silent;
  const auto heads = fidelity(tiny_model(), random_corpus(96), 2, 48, silent);
  ASSERT_EQ(heads.size(), 8u);
  for (std::size_t i = 0; i < heads.size(); ++i) {
    EXPECT_EQ(heads[i].layer, static_cast<std::int64_t>(i / 4));
    EXPECT_EQ(heads[i].head, static_cast<std::int64_t>(i % 4));
    EXPECT_GT(heads[i].entropy_softmax, 0.1);
    EXPECT_EQ(heads[i].entropy_linear, heads[i].entropy_softmax);
    EXPECT_EQ(heads[i].kl, 0);
    EXPECT_EQ(heads[i].output_error, 0);
    EXPECT_EQ(heads[i].linear_share, 0);
    EXPECT_NEAR(heads[i].monotonicity, 1, 1e-6);
    EXPECT_NEAR(heads[i].inverted_pairs, 0, 1e-6);
    EXPECT_TRUE(std::isnan(heads[i].effective_rank)) << "there is no state";
    EXPECT_EQ(heads[i].mass_16_linear, heads[i].mass_16_softmax);
    EXPECT_GT(heads[i].mass_16_softmax, 0.1);
    EXPECT_LT(heads[i].mass_16_softmax, heads[i].mass_64_softmax);
    EXPECT_NEAR(heads[i].mass_64_softmax, 1, 1e-9);
  }
  EXPECT_TRUE(std::isnan(mean_over_heads(heads).effective_rank));
  EXPECT_EQ(nlohmann::json::parse(to_json(heads).dump())[0]["effective_rank"], nullptr);
}

// Keys 16 and more below the own one have no weight.
TEST(Fidelity, AWindowedHybridHasItsMassInTheWindow) {
  Progress silent;
  Decoder model = tiny_model(converted(AttentionKind::kHybrid, 16));
  for (auto& layer : model.layers()) {
    for (auto& [name, tensor] : layer.attention.parameters()) {
      if (name.starts_with("mix")) tensor->fill_(name.ends_with("bias") ? -1e4 : 0);  // the linear part's factor is 0
    }
  }
  for (const HeadFidelity& head : fidelity(model, random_corpus(64), 1, 64, silent)) {
    EXPECT_NEAR(head.mass_16_linear, 1, 1e-6);
    EXPECT_LT(head.mass_16_softmax, 0.999);
    EXPECT_NEAR(head.linear_share, 0, 1e-6);
    EXPECT_GE(head.effective_rank, 1);
  }
}

TEST(Fidelity, AWindowOverAllKeysIsSoftmax) {
  Progress silent;
  for (const HeadFidelity& head :
       fidelity(tiny_model(converted(AttentionKind::kHybrid, 64)), random_corpus(64), 1, 64, silent)) {
    EXPECT_NEAR(head.kl, 0, 1e-9);
    EXPECT_NEAR(head.output_error, 0, 1e-9);
    EXPECT_EQ(head.linear_share, 0);
  }
}

// Layer 0 of a pure linear model, head by head in fp64 from its weights: a_ij ∝ φ(q_i)·φ(k_j), p = softmax(q·k/√D).
TEST(Fidelity, EqualsThePlainComputation) {
  constexpr std::int64_t kLength = 40, kDim = 8;
  Decoder model = tiny_model(converted(AttentionKind::kLinear));
  const Corpus corpus = random_corpus(kLength);
  Progress silent;
  const auto heads = fidelity(model, corpus, 1, kLength, silent);

  AttentionInput input;
  const std::vector<std::int64_t> ids(corpus.tokens.begin(), corpus.tokens.end());
  model.forward_visiting(at::tensor(ids, at::kLong).unsqueeze(0), {}, true,
                         [&](std::int64_t layer, const AttentionInput& seen) {
                           if (layer == 0) input = seen;
                         });
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, tensor] : model.layers()[0].attention.parameters()) weights[name] = tensor->detach().to(at::kDouble);
  const auto phi = [&](const std::string& map, std::int64_t head, const at::Tensor& x) {
    const at::Tensor u = at::matmul(x, weights[map + ".weight"][head].t()) + weights[map + ".bias"][head];
    return at::cat({at::softmax(u, 1), at::softmax(-u, 1)}, 1);
  };
  for (std::int64_t head = 0; head < 4; ++head) {
    const at::Tensor q = input.q[0][head].to(at::kDouble), k = input.k[0][head / 2].to(at::kDouble);
    const at::Tensor v = input.v[0][head / 2].to(at::kDouble);
    const at::Tensor visible = at::ones({kLength, kLength}, at::kBool).tril(), scores = at::matmul(q, k.t());
    const at::Tensor p = at::softmax((scores / std::sqrt(double{kDim})).masked_fill(~visible, -INFINITY), 1);
    const at::Tensor products = at::matmul(phi("q_map", head, q), phi("k_map", head / 2, k).t()).tril();
    const at::Tensor a = products / products.sum(1, true);
    const auto row_mean = [&](const at::Tensor& x) { return x.masked_fill(~visible, 0).sum().item<double>() / kLength; };
    const at::Tensor y = at::matmul(p, v), error = at::matmul(a, v) - y;
    EXPECT_NEAR(heads[head].entropy_softmax, row_mean(-p * p.log()), 1e-5);
    EXPECT_NEAR(heads[head].entropy_linear, row_mean(-a * a.log()), 1e-5);
    EXPECT_NEAR(heads[head].kl, row_mean(p * (p.log() - a.log())), 1e-5);
    EXPECT_NEAR(heads[head].output_error, (error.square().sum() / y.square().sum()).item<double>(), 1e-5);
    EXPECT_NEAR(heads[head].linear_share, 1, 1e-6);
    EXPECT_NEAR(heads[head].log_denominator, products.sum(1).log().mean().item<double>(), 1e-5);
    const at::Tensor place = at::arange(kLength), far = (place.unsqueeze(1) - place).ge(16);
    EXPECT_NEAR(heads[head].mass_16_softmax, p.masked_fill(far, 0).sum().item<double>() / kLength, 1e-5);
    EXPECT_NEAR(heads[head].mass_16_linear, a.masked_fill(far, 0).sum().item<double>() / kLength, 1e-5);
    const at::Tensor state = at::matmul(phi("k_map", head / 2, k).t(), v), values = at::linalg_svdvals(state);
    const at::Tensor shares = values / values.sum();
    EXPECT_NEAR(heads[head].effective_rank, std::exp(-(shares * shares.log()).sum().item<double>()), 1e-5);
    EXPECT_GE(heads[head].effective_rank, 1);
    EXPECT_LE(heads[head].effective_rank, kDim);
    std::array<CurveBin, kCurveBins> curve;
    for (std::int64_t i = 0; i < kLength; ++i) {
      const at::Tensor row = scores[i].slice(0, 0, i + 1) / std::sqrt(double{kDim});
      for (std::int64_t j = 0; j <= i; ++j) {
        const double below = (row.max() - row[j]).item<double>() / kCurveStep;
        CurveBin& bin = curve[std::min(static_cast<std::size_t>(below), kCurveBins - 1)];
        ++bin.keys;
        bin.softmax += p[i][j].item<double>();
        bin.linear += a[i][j].item<double>();
      }
    }
    for (std::size_t i = 0; i < kCurveBins; ++i) {
      const CurveBin& bin = heads[head].curve[i];
      EXPECT_EQ(bin.keys, curve[i].keys) << i;
      EXPECT_NEAR(bin.softmax * bin.keys, curve[i].softmax, 1e-5) << i;
      EXPECT_NEAR(bin.linear * bin.keys, curve[i].linear, 1e-5) << i;
    }
    EXPECT_GT(heads[head].kl, 0.01);

    double monotonicity = 0, inverted = 0;
    std::int64_t ranked = 0;
    for (std::int64_t i = 0; i < 16; ++i) {  // sixteen rows with equal steps, those of fewer than three keys left out
      const std::int64_t keys = (i + 1) * kLength / 16;
      if (keys < 3) continue;
      std::vector<double> weight, score;
      for (std::int64_t j = 0; j < keys; ++j) {
        weight.push_back(a[keys - 1][j].item<double>());
        score.push_back(scores[keys - 1][j].item<double>());
      }
      monotonicity += spearman(weight, score);
      inverted += inverted_pairs(weight, score);
      ++ranked;
    }
    EXPECT_NEAR(heads[head].monotonicity, monotonicity / static_cast<double>(ranked), 1e-5);
    EXPECT_NEAR(heads[head].inverted_pairs, inverted / static_cast<double>(ranked), 1e-5);
  }
}

TEST(Fidelity, DocumentsInAWindowCountAsOnTheirOwn) {
  const Decoder model = tiny_model(converted(AttentionKind::kHybrid, 4));
  const Corpus corpus = random_corpus(64, {0, 32});
  Progress silent;
  const auto packed = fidelity(model, corpus, 1, 64, silent), apart = fidelity(model, corpus, 2, 32, silent);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    EXPECT_NEAR(packed[i].entropy_softmax, apart[i].entropy_softmax, 1e-5);
    EXPECT_NEAR(packed[i].kl, apart[i].kl, 1e-5);
    EXPECT_NEAR(packed[i].linear_share, apart[i].linear_share, 1e-5);
    EXPECT_NEAR(packed[i].output_error, apart[i].output_error, 1e-5);
    EXPECT_GT(packed[i].linear_share, 0);
    EXPECT_LT(packed[i].linear_share, 1);
  }
}

TEST(Fidelity, SenselessSizesAreErrors) {
  Progress silent;
  EXPECT_THROW(fidelity(tiny_model(), random_corpus(16), 0, 8, silent), Error);
  EXPECT_THROW(fidelity(tiny_model(), random_corpus(16), 1, 1, silent), Error);
  EXPECT_THROW(fidelity(tiny_model(), random_corpus(1), 1, 8, silent), Error);
}

}  // namespace
}  // namespace hedgehog
