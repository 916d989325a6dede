// Dialogues and summaries as examples: the prompt, what is cut, what is scored.
#include "hedgehog/data/summaries.h"

#include "tests/support/byte_tokenizer.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace hedgehog {
namespace {

using testing::ByteTokenizer;
using testing::error_of;
using testing::TemporaryDirectory;

constexpr std::int32_t kEnd = 258;

std::string decoded_text(const std::vector<std::int32_t>& ids) {
  return ByteTokenizer().decode(ids, false);
}

TEST(Summaries, AnExampleIsThePromptTheSummaryAndTheEnd) {
  const ByteTokenizer tokenizer;
  const SummaryExample example = summary_example({"1", "A: hi\nB: ho", "They greet."}, tokenizer, {});
  EXPECT_EQ(decoded_text(example.prompt), "Summarize this dialog:\nA: hi\nB: ho\n---\nSummary:\n");
  EXPECT_EQ(decoded_text(example.summary), "They greet.<end>");
  EXPECT_EQ(example.summary.back(), kEnd);
  EXPECT_EQ(example.text, "They greet.");
  EXPECT_FALSE(example.dialogue_cut || example.summary_cut);
}

TEST(Summaries, ALongDialogueLosesItsEndAndALongSummaryToo) {
  const ByteTokenizer tokenizer;
  const SummaryExample example =
      summary_example({"1", std::string(51, 'd') + std::string(50, 'e'), "0123456789"}, tokenizer, {96, 8});
  EXPECT_EQ(std::ssize(example.prompt), 96 - 8);
  EXPECT_EQ(decoded_text(example.prompt), "Summarize this dialog:\n" + std::string(51, 'd') + "\n---\nSummary:\n");
  EXPECT_EQ(decoded_text(example.summary), "0123456<end>");
  EXPECT_EQ(example.text, "0123456789") << "what is scored is the whole summary";
  EXPECT_TRUE(example.dialogue_cut && example.summary_cut);
}

TEST(Summaries, TheCorpusScoresSummariesAloneAndSaysWhatWasCut) {
  const ByteTokenizer tokenizer;
  const std::vector<Dialogue> dialogues = {
      {"1", "A: hi", "One."}, {"2", std::string(90, 'd'), "Two."}, {"3", "B: ho", "Three."}};
  const SummaryExamples all = summary_examples(dialogues, tokenizer, {96, 8}, 0, 0, "chats");
  ASSERT_EQ(all.examples.size(), 3u);
  ASSERT_EQ(all.corpus.document_starts.size(), 3u);
  ASSERT_EQ(all.corpus.scored.size(), all.corpus.tokens.size());
  std::vector<std::int32_t> scored;
  for (std::size_t i = 0; i < all.corpus.tokens.size(); ++i) {
    if (all.corpus.scored[i] != 0) scored.push_back(all.corpus.tokens[i]);
  }
  EXPECT_EQ(decoded_text(scored), "One.<end>Two.<end>Three.<end>");
  EXPECT_EQ(all.corpus.description, fmt::format("chats: 3 dialogues with summaries, {} tokens, 1 dialogues cut at their end",
                                                all.corpus.tokens.size()));
  EXPECT_EQ(summary_examples(dialogues, tokenizer, {96, 8}, 2, 0, "").examples.size(), 2u);
  EXPECT_EQ(summary_examples(dialogues, tokenizer, {96, 8}, 0, 1, "").examples.size(), 1u) << "never none";
  EXPECT_EQ(summary_examples(dialogues, tokenizer, {96, 8}, 0, 140, "").examples.size(), 2u);
}

TEST(Summaries, WhatCannotBeDoneIsSaid) {
  const Dialogue dialogue{"1", "A: hi", "One."};
  EXPECT_NE(error_of([&] {
              summary_example(dialogue, ByteTokenizer(), {64, 40});
            }).find("none for the dialogue"),
            std::string::npos);
  EXPECT_NE(error_of([&] { summary_example(dialogue, ByteTokenizer(), {64, 1}); }).find("at least 2"), std::string::npos);
  EXPECT_NE(error_of([&] { summary_example(dialogue, ByteTokenizer(std::vector<std::int32_t>()), {}); }).find("no end token"),
            std::string::npos);
  const TemporaryDirectory folder;
  EXPECT_NE(error_of([&] { samsum_file(folder.path(), "test"); }).find("holds no test.jsonl"), std::string::npos);
  folder.write("test.jsonl.zst", "");
  EXPECT_EQ(samsum_file(folder.path(), "test"), folder / "test.jsonl.zst");
}

}  // namespace
}  // namespace hedgehog
