#include "hedgehog/evaluation/needle.h"

#include "hedgehog/base/error.h"
#include "tests/inference/tiny_model.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

namespace hedgehog {
namespace {

using testing::error_of;
using testing::tiny_model;

Corpus haystack(std::int64_t tokens) {
  Corpus corpus;
  corpus.document_starts = {0};
  corpus.description = "hay";
  for (std::int64_t i = 0; i < tokens; ++i) corpus.tokens.push_back(static_cast<std::int32_t>('a' + i % 26));
  return corpus;
}

TEST(NeedlePrompt, HasItsLengthAndTheKeyWhereItShouldBe) {
  const testing::ByteTokenizer tokenizer;
  const Corpus hay = haystack(1000);
  const NeedleConfig config{{}, 4, 3};
  std::int64_t last = -1;
  for (std::int64_t sample = 0; sample < config.samples; ++sample) {
    const NeedlePrompt prompt = needle_prompt(tokenizer, hay, config, 300, sample);
    EXPECT_EQ(prompt.tokens.size(), 300u);
    const std::string text = tokenizer.decode(prompt.tokens, false), key = tokenizer.decode(prompt.answer, false);
    EXPECT_EQ(key.size(), 6u);  // a blank and five digits
    const std::string needle = " The pass key is" + key + ". Remember it." + key + " is the pass key.";
    EXPECT_EQ(text.find(needle), static_cast<std::size_t>(prompt.place)) << text;
    EXPECT_TRUE(text.ends_with("What is the pass key? The pass key is")) << text;
    EXPECT_GT(prompt.place, last);
    last = prompt.place;
    EXPECT_EQ(needle_prompt(tokenizer, hay, config, 300, sample).tokens, prompt.tokens);
    EXPECT_NE(needle_prompt(tokenizer, hay, {{}, 4, 4}, 300, sample).answer, prompt.answer);
  }
}

TEST(NeedlePrompt, WithoutRoomOrHayIsAnError) {
  const testing::ByteTokenizer tokenizer;
  EXPECT_NE(error_of([&] { needle_prompt(tokenizer, haystack(1000), {}, 20, 0); }).find("has no room for the pass key"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { needle_prompt(tokenizer, haystack(50), {}, 300, 0); }),
            "hay: has 50 tokens, too few for a prompt of 300");
}

TEST(NeedleScores, AreThoseOfTheWholeTextAtOnce) {
  const testing::ByteTokenizer tokenizer;
  const Corpus hay = haystack(500);
  const NeedleConfig config{{150, 260}, 3, 1};
  AttentionConfig linear;
  linear.kind = AttentionKind::kLinear;
  Progress silent;
  for (const AttentionConfig& attention : {AttentionConfig{}, linear}) {
    const Decoder model = tiny_model(attention);
    const auto scores = needle_scores(model, tokenizer, hay, config, silent);
    ASSERT_EQ(scores.size(), 2u);
    const at::NoGradGuard no_gradients;
    for (const NeedleScore& score : scores) {
      double loss = 0;
      for (std::int64_t sample = 0; sample < config.samples; ++sample) {
        const NeedlePrompt prompt = needle_prompt(tokenizer, hay, config, score.length, sample);
        std::vector<std::int64_t> all(prompt.tokens.begin(), prompt.tokens.end());
        all.insert(all.end(), prompt.answer.begin(), prompt.answer.end());
        const at::Tensor log_p = at::log_softmax(model.logits(model.forward(at::tensor(all, at::kLong).unsqueeze(0)))[0], 1);
        for (std::int64_t i = score.length; i < std::ssize(all); ++i) {
          loss -= log_p[i - 1][all[static_cast<std::size_t>(i)]].item<double>();
        }
      }
      EXPECT_NEAR(std::log(score.answer_perplexity), loss / (3 * 6), 1e-4);
      EXPECT_EQ(score.found.count, 3);
      EXPECT_EQ(score.found.mean, 0);  // a random model knows no key
    }
  }
}

// Real weights: softmax tells the key, untrained linear attention does not.
TEST(NeedleScores, OfSmollm2) {
  const auto folder = [](const char* variable, const char* otherwise) {
    const char* set = std::getenv(variable);
    return set != nullptr ? std::filesystem::path(set) : std::filesystem::path(HEDGEHOG_SOURCE_DIR) / otherwise;
  };
  const std::filesystem::path gguf = folder("HEDGEHOG_MODELS", ".deps/models") / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(gguf)) GTEST_SKIP() << "skipped: no model at " << gguf;
  const Checkpoint checkpoint = open_checkpoint(gguf);
  const auto tokenizer = make_tokenizer(checkpoint.tokenizer);
  std::string text;
  for (int i = 0; i < 30; ++i)
    text += "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  Corpus hay;
  hay.tokens = tokenizer->encode(text);
  Decoder model(checkpoint);
  Progress silent;
  const NeedleConfig config{{160}, 3, 0};
  const NeedleScore softmax = needle_scores(model, *tokenizer, hay, config, silent)[0];
  EXPECT_EQ(softmax.found.mean, 1);
  EXPECT_LT(softmax.answer_perplexity, 1.5);
  model.set_attention({.kind = AttentionKind::kLinear});
  const NeedleScore linear = needle_scores(model, *tokenizer, hay, config, silent)[0];
  EXPECT_EQ(linear.found.mean, 0);
  EXPECT_GT(linear.answer_perplexity, 5);
}

}  // namespace
}  // namespace hedgehog
