// Dialogues and their summaries as a language model reads them: a prompt, the summary, the end token. Only the summary is
// scored.
#pragma once

#include "hedgehog/data/corpus.h"
#include "hedgehog/data/samsum.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

/// What stands around the dialogue: the prompt of Llama's published finetuning recipes, which later SAMSum results share.
inline constexpr std::string_view kBeforeDialogue = "Summarize this dialog:\n", kAfterDialogue = "\n---\nSummary:\n";

struct SummaryLengths {
  std::int64_t example = 512;  // most tokens of prompt and summary together
  std::int64_t summary = 128;  // most tokens of a summary, its end token among them
};

struct SummaryExample {
  std::string text;                   // the summary as it stands in the file
  std::vector<std::int32_t> prompt;   // with the tokenizer's begin token if its post-processor puts one there
  std::vector<std::int32_t> summary;  // with the end token
  bool dialogue_cut = false, summary_cut = false;
};

/// Too long texts are cut as the published programs for sequence pairs do (transformers' run_summarization): a dialogue loses
/// its last tokens where the prompt would have more than example − summary of them, a summary its last ones. Throws Error for
/// lengths that leave no room for a dialogue, and for a tokenizer without an end token.
SummaryExample summary_example(const Dialogue& dialogue, const Tokenizer& tokenizer, const SummaryLengths& lengths);

struct SummaryExamples {
  std::vector<SummaryExample> examples;
  Corpus corpus;  // a document an example
};

/// The first `count` dialogues (0: all), as many as fit `limit_tokens` (0: no limit; never less than one). `origin` and what
/// was cut stand in the corpus's description.
SummaryExamples summary_examples(const std::vector<Dialogue>& dialogues, const Tokenizer& tokenizer,
                                 const SummaryLengths& lengths, std::int64_t count, std::int64_t limit_tokens,
                                 const std::string& origin);

}  // namespace hedgehog
