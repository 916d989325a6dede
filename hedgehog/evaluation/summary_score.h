// Summaries that a language model writes with the recurrent form, greedily, beside those that people wrote: ROUGE.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/summaries.h"
#include "hedgehog/evaluation/confidence_interval.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hedgehog {

struct SummaryScore {
  MeanInterval rouge1, rouge2, rouge_l;  // F as a share; the interval is over the dialogues
  std::vector<std::string> written;      // in order
  double ended = 0;                      // share of the summaries that the model ended itself
  double tokens = 0;                     // of a summary, mean
  double prompt_tokens_per_second = 0, tokens_per_second = 0;
};

/// At most `most_tokens` tokens each, the end token not counted. Throws Error for no examples, Interrupted on Ctrl-C.
SummaryScore summary_score(const Decoder& model, const Tokenizer& tokenizer, std::span<const SummaryExample> examples,
                           std::int64_t most_tokens, Progress& progress);

}  // namespace hedgehog
