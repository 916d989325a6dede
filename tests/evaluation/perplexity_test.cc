#include "hedgehog/evaluation/perplexity.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/random.h"
#include "hedgehog/evaluation/confidence_interval.h"
#include "hedgehog/evaluation/windows.h"
#include "tests/inference/tiny_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

namespace hedgehog {
namespace {

using testing::tiny_model;

Corpus random_corpus(std::int64_t tokens, std::vector<std::int64_t> starts = {0}) {
  Corpus corpus;
  Random random{5};
  for (std::int64_t i = 0; i < tokens; ++i) corpus.tokens.push_back(static_cast<std::int32_t>(random.below(260)));
  corpus.document_starts = std::move(starts);
  return corpus;
}

AttentionConfig hybrid() {
  AttentionConfig config;
  config.kind = AttentionKind::kHybrid;
  config.window = 4;
  config.sinks = 1;
  return config;
}

/// log p(·) of every position, fp64, from the whole logits matrix: [positions, vocabulary].
at::Tensor plain_log_probabilities(const Decoder& model, const Corpus& corpus, std::int64_t begin, std::int64_t length) {
  const at::NoGradGuard no_gradients;
  const std::vector<std::int64_t> ids(corpus.tokens.begin() + begin, corpus.tokens.begin() + begin + length);
  return at::log_softmax(model.logits(model.forward(at::tensor(ids, at::kLong).unsqueeze(0)))[0].to(at::kDouble), 1);
}

struct Plain {
  double loss = 0, teacher_loss = 0, kl = 0, agreement = 0;
  std::int64_t tokens = 0;
};

Plain plain(const Decoder& model, const Decoder& teacher, const Corpus& corpus, std::int64_t window) {
  Plain sums;
  const auto total = static_cast<std::int64_t>(corpus.tokens.size());
  for (std::int64_t begin = 0; begin + 1 < total; begin += window) {
    const std::int64_t length = std::min(window, total - begin);
    const at::Tensor q = plain_log_probabilities(model, corpus, begin, length);
    const at::Tensor p = plain_log_probabilities(teacher, corpus, begin, length);
    for (std::int64_t t = 0; t + 1 < length; ++t) {
      const std::int64_t next = corpus.tokens[begin + t + 1];
      sums.loss -= q[t][next].item<double>();
      sums.teacher_loss -= p[t][next].item<double>();
      sums.kl += (p[t].exp() * (p[t] - q[t])).sum().item<double>();
      sums.agreement += q[t].argmax().item<std::int64_t>() == p[t].argmax().item<std::int64_t>();
      ++sums.tokens;
    }
  }
  return sums;
}

TEST(Windows, AreCutInOrderAndTheLastMayBeShort) {
  const Corpus corpus = random_corpus(23);
  const auto batches = cut_windows(corpus, 5, 0, 3);
  ASSERT_EQ(batches.size(), 3u);  // three windows, one window, and the rest of three tokens
  EXPECT_EQ(batches[0].tokens.sizes(), (std::vector<std::int64_t>{3, 5}));
  EXPECT_EQ(batches[1].tokens.sizes(), (std::vector<std::int64_t>{1, 5}));
  EXPECT_EQ(batches[2].tokens.sizes(), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(batches[2].tokens[0][2].item<std::int64_t>(), corpus.tokens[22]);
  EXPECT_FALSE(batches[0].segment_start.defined());
  EXPECT_TRUE(at::equal(batches[0].rows, at::tensor(std::vector<std::int64_t>{0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13})));
  EXPECT_EQ(batches[0].targets[4].item<std::int64_t>(), corpus.tokens[6]);
}

TEST(Windows, ATokenLeftOverIsNoWindow) {
  EXPECT_EQ(cut_windows(random_corpus(11), 5, 0, 8).size(), 1u);
}

TEST(Windows, LimitCountsTokens) {
  const auto batches = cut_windows(random_corpus(100), 8, 20, 8);
  std::int64_t tokens = 0;
  for (const WindowBatch& batch : batches) tokens += batch.tokens.numel();
  EXPECT_EQ(tokens, 20);
}

TEST(Windows, DocumentsNeitherAttendNorPredictAcrossTheirBorders) {
  const auto batches = cut_windows(random_corpus(12, {0, 4, 6, 7}), 6, 0, 2);
  ASSERT_EQ(batches.size(), 1u);
  const std::vector<std::int32_t> segments = {0, 0, 0, 0, 4, 4, 0, 1, 1, 1, 1, 1};
  EXPECT_TRUE(at::equal(batches[0].segment_start.flatten(), at::tensor(segments, at::kInt)));
  EXPECT_TRUE(at::equal(batches[0].rows, at::tensor(std::vector<std::int64_t>{0, 1, 2, 4, 7, 8, 9, 10})));
}

TEST(Windows, SenselessSizesAreErrors) {
  EXPECT_THROW(cut_windows(random_corpus(12), 1, 0, 1), Error);
  EXPECT_THROW(cut_windows(random_corpus(12), 4, 0, 0), Error);
  EXPECT_THROW(cut_windows(random_corpus(12), 4, -1, 1), Error);
  EXPECT_THROW(cut_windows(random_corpus(1), 4, 0, 1), Error);
}

TEST(Perplexity, EqualsThePlainComputation) {
  const Decoder teacher = tiny_model(), model = tiny_model(hybrid());
  const Corpus corpus = random_corpus(700);  // more scored rows than a block of logits holds
  Progress silent;
  const Perplexity result = perplexity(model, corpus, {.window = 64, .limit_tokens = 0, .batch = 8}, silent, &teacher);
  const Plain expected = plain(model, teacher, corpus, 64);
  const auto tokens = static_cast<double>(expected.tokens);
  EXPECT_EQ(result.tokens, expected.tokens);
  EXPECT_NEAR(result.perplexity / std::exp(expected.loss / tokens), 1, 1e-5);
  EXPECT_NEAR(*result.softmax_perplexity / std::exp(expected.teacher_loss / tokens), 1, 1e-5);
  EXPECT_GT(*result.kl_to_softmax, 1e-3);
  EXPECT_NEAR(*result.kl_to_softmax, expected.kl / tokens, 1e-5);
  EXPECT_DOUBLE_EQ(*result.top1_agreement, expected.agreement / tokens);
}

TEST(Perplexity, BatchSizeDoesNotMatterAndRepeatingGivesTheSameBits) {
  const Decoder model = tiny_model(hybrid());
  const Corpus corpus = random_corpus(600, {0, 100, 333});
  Progress silent;
  const auto with = [&](std::int64_t batch) {
    return perplexity(model, corpus, {.window = 50, .batch = batch}, silent).perplexity;
  };
  EXPECT_EQ(with(4), with(4));
  EXPECT_NEAR(with(1) / with(7), 1, 1e-6);
}

TEST(Perplexity, ItsIntervalIsTheBootstrapOverWindows) {
  const Decoder model = tiny_model(hybrid()), teacher = tiny_model();
  const Corpus corpus = random_corpus(5 * 24 + 9);  // the last window is shorter
  const PerplexityConfig config{.window = 24, .batch = 2};
  Progress silent;
  struct Window {
    double loss, teacher_loss, tokens;
  };
  std::vector<Window> windows;
  for (std::size_t begin = 0; begin < corpus.tokens.size(); begin += 24) {
    Corpus one;
    const std::size_t end = std::min(begin + 24, corpus.tokens.size());
    one.tokens.assign(corpus.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                      corpus.tokens.begin() + static_cast<std::ptrdiff_t>(end));
    one.document_starts = {0};
    const Plain sums = plain(model, teacher, one, 24);
    windows.push_back({sums.loss, sums.teacher_loss, static_cast<double>(sums.tokens)});
    const Perplexity alone = perplexity(model, one, config, silent, &teacher);
    EXPECT_FALSE(alone.half_interval || alone.ratio_half_interval);
  }
  const auto expected = bootstrap_half_widths(windows.size(), [&](std::span<const std::size_t> drawn) {
    double loss = 0, teacher_loss = 0, tokens = 0;
    for (const std::size_t i : drawn) {
      loss += windows[i].loss;
      teacher_loss += windows[i].teacher_loss;
      tokens += windows[i].tokens;
    }
    return std::vector{std::exp(loss / tokens), std::exp((loss - teacher_loss) / tokens)};
  });
  const Perplexity found = perplexity(model, corpus, config, silent, &teacher);
  EXPECT_GT(expected[0], 1);
  EXPECT_NEAR(found.half_interval.value(), expected[0], 1e-4 * expected[0]);
  EXPECT_NEAR(found.ratio_half_interval.value(), expected[1], 1e-4 * expected[1]);
  EXPECT_FALSE(perplexity(model, corpus, config, silent).ratio_half_interval);
}

TEST(Perplexity, OfItselfDivergesByNothing) {
  const Decoder model = tiny_model();
  Progress silent;
  const Perplexity result = perplexity(model, random_corpus(200), {.window = 40}, silent, &model);
  EXPECT_EQ(*result.kl_to_softmax, 0);
  EXPECT_EQ(*result.top1_agreement, 1);
  EXPECT_EQ(*result.softmax_perplexity, result.perplexity);
  EXPECT_FALSE(perplexity(model, random_corpus(200), {.window = 40}, silent).kl_to_softmax.has_value());
}

TEST(Perplexity, OfAModelThatKnowsNothingIsItsVocabulary) {
  Decoder model = tiny_model();
  for (auto& [name, weight] : model.weights()) weight->zero_();
  Progress silent;
  EXPECT_NEAR(perplexity(model, random_corpus(100), {.window = 32}, silent).perplexity, 260, 1e-3);
}

TEST(Perplexity, NothingToScoreIsAnError) {
  Progress silent;
  EXPECT_THROW(perplexity(tiny_model(), random_corpus(3, {0, 1, 2}), {.window = 8}, silent), Error);
}

TEST(Controls, AreThePerplexitiesUnderEachControlAndLeaveTheModelAsItWas) {
  Decoder model = tiny_model(hybrid());
  const Corpus corpus = random_corpus(400);
  const PerplexityConfig config{.window = 64};
  Progress silent;
  const double before = perplexity(model, corpus, config, silent).perplexity;
  const Controls result = controls(model, corpus, config, silent);
  EXPECT_EQ(model.control, AttentionControl::kNone);
  EXPECT_EQ(perplexity(model, corpus, config, silent).perplexity, before);
  const auto under = [&](AttentionControl control) {
    model.control = control;
    return perplexity(model, corpus, config, silent).perplexity;
  };
  EXPECT_EQ(result.linear_removed, under(AttentionControl::kLinearRemoved));
  EXPECT_EQ(result.window_removed, under(AttentionControl::kWindowRemoved));
  EXPECT_EQ(result.no_attention, under(AttentionControl::kNoAttention));
  EXPECT_NE(result.linear_removed, before);
  EXPECT_NE(result.window_removed, before);
  EXPECT_NE(result.no_attention, before);
}

TEST(Controls, AreUndoneWhenAMeasurementThrows) {
  struct Thrower : Progress {
    void update(std::int64_t, std::string_view) override { fail("stop"); }
  } thrower;
  Decoder model = tiny_model(hybrid());
  EXPECT_THROW(controls(model, random_corpus(100), {.window = 32}, thrower), Error);
  EXPECT_EQ(model.control, AttentionControl::kNone);
}

TEST(Perplexity, OfACorpusWithScoresIsThatOfItsScoredTokensAlone) {
  Corpus corpus = random_corpus(60, {0, 17, 31, 38});
  for (int i = 0; i < 60; ++i) corpus.scored.push_back(i % 5 >= 3);
  Decoder model = tiny_model(hybrid()), teacher = tiny_model();
  Plain sums;
  const std::vector<std::int64_t> borders = {0, 17, 31, 38, 60};
  for (std::size_t document = 0; document < 4; ++document) {
    const std::int64_t begin = borders[document], length = borders[document + 1] - begin;
    const at::Tensor q = plain_log_probabilities(model, corpus, begin, length);
    const at::Tensor p = plain_log_probabilities(teacher, corpus, begin, length);
    for (std::int64_t t = 0; t + 1 < length; ++t) {
      if (corpus.scored[begin + t + 1] == 0) continue;
      const std::int64_t next = corpus.tokens[begin + t + 1];
      sums.loss -= q[t][next].item<double>();
      sums.kl += (p[t].exp() * (p[t] - q[t])).sum().item<double>();
      ++sums.tokens;
    }
  }
  Progress silent;
  PerplexityConfig config;
  config.window = 40;
  config.batch = 2;
  const Perplexity result = perplexity(model, corpus, config, silent, &teacher);
  EXPECT_EQ(result.tokens, sums.tokens);
  EXPECT_NEAR(std::log(result.perplexity), sums.loss / sums.tokens, 1e-5);
  EXPECT_NEAR(*result.kl_to_softmax, sums.kl / sums.tokens, 1e-5);
}

// A window at a time and token by token are the same function; a state in fewer bits is near it, and smaller.
TEST(Perplexity, TokenByTokenIsTheSame) {
  Decoder model = tiny_model(hybrid());
  const Corpus corpus = random_corpus(70);
  PerplexityConfig config{24, 0, 2};
  Progress silent;
  const Perplexity whole = perplexity(model, corpus, config, silent);
  EXPECT_FALSE(whole.state_bytes);
  config.state = at::kFloat;
  const Perplexity steps = perplexity(model, corpus, config, silent, &model);
  EXPECT_NEAR(steps.perplexity, whole.perplexity, 1e-4 * whole.perplexity);
  EXPECT_EQ(steps.tokens, whole.tokens);
  EXPECT_NEAR(*steps.kl_to_softmax, 0, 1e-5);
  config.state = at::kChar;
  const Perplexity rough = perplexity(model, corpus, config, silent);
  EXPECT_NEAR(rough.perplexity, whole.perplexity, 0.05 * whole.perplexity);
  EXPECT_NE(rough.perplexity, steps.perplexity);
  EXPECT_LT(*rough.state_bytes, *steps.state_bytes);
}

TEST(Perplexity, TokenByTokenRefusesABorderInsideAWindow) {
  PerplexityConfig config{24, 0, 2};
  config.state = at::kFloat;
  Progress silent;
  try {
    perplexity(tiny_model(hybrid()), random_corpus(70, {0, 10}), config, silent);
    FAIL() << "a state went on into another document";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cannot cross a document's border"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace hedgehog
