#include "hedgehog/data/summaries.h"

#include "hedgehog/base/error.h"

#include <algorithm>

namespace hedgehog {
namespace {

/// Leaves out the last ids beyond `most`; whether there were any.
bool cut(std::vector<std::int32_t>& ids, std::int64_t most) {
  if (std::ssize(ids) <= most) return false;
  ids.resize(static_cast<std::size_t>(most));
  return true;
}

}  // namespace

SummaryExample summary_example(const Dialogue& dialogue, const Tokenizer& tokenizer, const SummaryLengths& lengths) {
  check(!tokenizer.end_tokens().empty(), "the tokenizer names no end token, with which a summary has to end");
  check(lengths.summary >= 2, "a summary needs at least 2 tokens, itself and its end, found {}", lengths.summary);
  SummaryExample example;
  example.text = dialogue.summary;
  const std::vector<std::int32_t> after = tokenizer.encode(kAfterDialogue);
  const std::vector<std::int32_t> before = tokenizer.encode(kBeforeDialogue, true);
  const std::int64_t room = lengths.example - lengths.summary - std::ssize(after);
  check(
      room > std::ssize(before),
      "an example of {} tokens, {} of them for the summary, leaves none for the dialogue: the prompt's own words have {}; give "
      "more for the whole or less for the summary",
      lengths.example, lengths.summary, before.size() + after.size());
  example.prompt = tokenizer.encode(std::string(kBeforeDialogue) + dialogue.dialogue, true);
  example.dialogue_cut = cut(example.prompt, room);
  example.prompt.insert(example.prompt.end(), after.begin(), after.end());
  example.summary = tokenizer.encode(dialogue.summary);
  example.summary_cut = cut(example.summary, lengths.summary - 1);
  example.summary.push_back(tokenizer.end_tokens().front());
  return example;
}

SummaryExamples summary_examples(const std::vector<Dialogue>& dialogues, const Tokenizer& tokenizer,
                                 const SummaryLengths& lengths, std::int64_t count, std::int64_t limit_tokens,
                                 const std::string& origin) {
  SummaryExamples result;
  Corpus& corpus = result.corpus;
  std::int64_t dialogues_cut = 0, summaries_cut = 0;
  for (const Dialogue& dialogue : dialogues) {
    if (count > 0 && std::ssize(result.examples) == count) break;
    SummaryExample example = summary_example(dialogue, tokenizer, lengths);
    std::vector<std::int32_t> document = example.prompt;
    document.insert(document.end(), example.summary.begin(), example.summary.end());
    if (limit_tokens > 0 && !corpus.tokens.empty() && std::ssize(corpus.tokens) + std::ssize(document) > limit_tokens) break;
    append_document(corpus, document);
    corpus.scored.insert(corpus.scored.end(), example.prompt.size(), 0);
    corpus.scored.insert(corpus.scored.end(), example.summary.size(), 1);
    dialogues_cut += example.dialogue_cut;
    summaries_cut += example.summary_cut;
    result.examples.push_back(std::move(example));
  }
  corpus.description =
      fmt::format("{}: {} dialogues with summaries, {} tokens", origin, result.examples.size(), corpus.tokens.size());
  if (dialogues_cut > 0) corpus.description += fmt::format(", {} dialogues cut at their end", dialogues_cut);
  if (summaries_cut > 0) corpus.description += fmt::format(", {} summaries cut at their end", summaries_cut);
  seal(corpus);
  return result;
}

}  // namespace hedgehog
