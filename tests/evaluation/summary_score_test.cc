// Summaries by the recurrent form against the parallel form's greedy choices, and their ROUGE.
#include "hedgehog/evaluation/summary_score.h"

#include "hedgehog/base/error.h"
#include "hedgehog/evaluation/rouge.h"
#include "tests/inference/tiny_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

namespace hedgehog {
namespace {

using testing::ByteTokenizer;
using testing::tiny_model;

constexpr SummaryLengths kLengths = {96, 12};

std::vector<SummaryExample> written_examples() {
  const std::vector<Dialogue> dialogues = {{"1", "A: hi\nB: ho", "They greet each other."},
                                           {"2", "C: where are you?\nD: under a leaf", "D is under a leaf."},
                                           {"3", "E: " + std::string(80, 'z'), "E sleeps."}};
  return summary_examples(dialogues, ByteTokenizer(), kLengths, 0, 0, "").examples;
}

/// The whole sequence through the parallel form for every token: slow, and without any state.
std::string greedy_text(const Decoder& model, const std::vector<std::int32_t>& prompt, std::int64_t most, bool& ended) {
  const at::NoGradGuard no_gradients;
  std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  std::vector<std::int32_t> written;
  ended = false;
  while (!ended && std::ssize(written) < most) {
    const at::Tensor hidden = model.forward(at::tensor(ids, at::kLong).unsqueeze(0));
    const auto next = model.logits(hidden.select(1, hidden.size(1) - 1)).argmax().item<std::int64_t>();
    ended = next == 258;
    ids.push_back(next);
    if (!ended) written.push_back(static_cast<std::int32_t>(next));
  }
  // Random models write bytes that are no UTF-8; what becomes of those is the engine's own test.
  return ByteTokenizer().decode(written, true);
}

std::string letters(const std::string& text) {
  std::string kept;
  std::copy_if(text.begin(), text.end(), std::back_inserter(kept), [](char c) { return static_cast<unsigned char>(c) < 128; });
  return kept;
}

TEST(SummaryScore, WhatIsWrittenIsTheParallelFormsFirstChoice) {
  AttentionConfig linear, hybrid;
  linear.kind = AttentionKind::kLinear;
  hybrid.kind = AttentionKind::kHybrid;
  hybrid.window = 8;
  hybrid.sinks = 2;
  const std::vector<SummaryExample> examples = written_examples();
  for (const AttentionConfig& attention : {AttentionConfig{}, linear, hybrid}) {
    const Decoder model = tiny_model(attention, 0.5);
    Progress silent;
    const SummaryScore score = summary_score(model, ByteTokenizer(), examples, kLengths.summary, silent);
    ASSERT_EQ(score.written.size(), examples.size());
    double one = 0, two = 0, longest = 0, ended_share = 0;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      bool ended = false;
      const std::string expected = greedy_text(model, examples[i].prompt, kLengths.summary, ended);
      EXPECT_EQ(letters(score.written[i]), letters(expected));
      const Rouge each = rouge(examples[i].text, score.written[i]);
      one += each.one.f / 3;
      two += each.two.f / 3;
      longest += each.longest.f / 3;
      ended_share += ended / 3.0;
    }
    EXPECT_NEAR(score.rouge1.mean, one, 1e-12);
    EXPECT_NEAR(score.rouge2.mean, two, 1e-12);
    EXPECT_NEAR(score.rouge_l.mean, longest, 1e-12);
    EXPECT_NEAR(score.ended, ended_share, 1e-12);
    EXPECT_EQ(score.rouge1.count, 3);
    EXPECT_TRUE(score.rouge1.half_width.has_value());
    EXPECT_GT(score.tokens_per_second, 0);
  }
}

TEST(SummaryScore, NeedsAnExample) {
  Progress silent;
  EXPECT_THROW(summary_score(tiny_model(), ByteTokenizer(), {}, 8, silent), Error);
}

}  // namespace
}  // namespace hedgehog
