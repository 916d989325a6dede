// One sentence that has to be found again in a long text: a pass key, told somewhere and asked for at the end (the task of
// arXiv 2305.16300). What a state of fixed size forgets shows here first.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/evaluation/confidence_interval.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <vector>

namespace hedgehog {

struct NeedleConfig {
  std::vector<std::int64_t> lengths;  // of the prompt, tokens
  std::int64_t samples = 10;          // of each length; the key stands at another depth in each, from the start to the end
  std::uint64_t seed = 0;             // of the keys, and of where in the haystack a text begins
};

struct NeedlePrompt {
  std::vector<std::int32_t> tokens, answer;
  std::int64_t place = 0;  // of the needle's first token
};

/// The `sample`-th prompt of `length` tokens: text of `haystack` with the needle in it, then the question. Five digits are the
/// answer. Throws Error for a length without room for needle and question, or a haystack that is shorter.
NeedlePrompt needle_prompt(const Tokenizer& tokenizer, const Corpus& haystack, const NeedleConfig& config, std::int64_t length,
                           std::int64_t sample);

struct NeedleScore {
  std::int64_t length = 0;
  MeanInterval found;            // share of the keys that would be written in full, greedily
  double answer_perplexity = 0;  // of the keys' tokens
};

/// The model reads each prompt in its recurrent or chunked form, with the state that it would write from.
std::vector<NeedleScore> needle_scores(const Decoder& model, const Tokenizer& tokenizer, const Corpus& haystack,
                                       const NeedleConfig& config, Progress& progress);

}  // namespace hedgehog
