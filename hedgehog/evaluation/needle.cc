#include "hedgehog/evaluation/needle.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/base/random.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <string>

namespace hedgehog {
namespace {

constexpr std::uint64_t kLeastKey = 10000, kKeys = 90000;  // five digits

at::Tensor row_of(const std::vector<std::int32_t>& tokens) {
  return at::tensor(tokens, at::kInt).to(at::kLong).unsqueeze(0);
}

struct Answer {
  bool found = false;
  double loss = 0;  // nats, of all its tokens
};

Answer answer_to(const Decoder& model, const NeedlePrompt& prompt) {
  // All but the last token of the key are read, too: each is judged after the right ones before it, as greedy writing would
  // have it if it was right so far.
  std::vector<AttentionState> states;
  at::Tensor hidden = model.continue_from(states, row_of(prompt.tokens)).slice(1, -1);
  const at::Tensor answer = row_of(prompt.answer).squeeze(0);
  if (prompt.answer.size() > 1) {
    hidden = at::cat({hidden, model.continue_from(states, answer.slice(0, 0, -1).unsqueeze(0))}, 1);
  }
  const at::Tensor logits = model.logits(hidden).squeeze(0).to(at::kFloat);
  return {logits.argmax(1).eq(answer).all().item<bool>(),
          -at::log_softmax(logits, 1).gather(1, answer.unsqueeze(1)).sum(at::kDouble).item<double>()};
}

}  // namespace

NeedlePrompt needle_prompt(const Tokenizer& tokenizer, const Corpus& haystack, const NeedleConfig& config, std::int64_t length,
                           std::int64_t sample) {
  Random random{config.seed * 0x10001 + static_cast<std::uint64_t>(length), static_cast<std::uint64_t>(sample) * 16};
  const std::string key = std::to_string(kLeastKey + random.below(kKeys));
  const std::vector<std::int32_t> needle =
      tokenizer.encode(" The pass key is " + key + ". Remember it. " + key + " is the pass key.");
  const std::string question = "\n\nWhat is the pass key? The pass key is";
  const std::vector<std::int32_t> asked = tokenizer.encode(question), whole = tokenizer.encode(question + " " + key);
  // A tokenizer may join the blank with the last word or with the key: what follows the tokens that are the same is the answer.
  std::size_t same = 0;
  while (same < asked.size() && same + 1 < whole.size() && asked[same] == whole[same]) ++same;
  const auto fixed = static_cast<std::int64_t>(needle.size() + same);
  const std::int64_t filler = length - fixed;
  check(filler >= 0, "a prompt of {} tokens has no room for the pass key and the question, which are {}", length, fixed);
  check(std::ssize(haystack.tokens) >= filler, "{}: has {} tokens, too few for a prompt of {}", haystack.description,
        haystack.tokens.size(), length);

  NeedlePrompt prompt;
  prompt.place = filler * (2 * sample + 1) / (2 * config.samples);
  const auto begin =
      haystack.tokens.begin() +
      static_cast<std::ptrdiff_t>(random.below(static_cast<std::uint64_t>(std::ssize(haystack.tokens) - filler + 1)));
  prompt.tokens.assign(begin, begin + prompt.place);
  prompt.tokens.insert(prompt.tokens.end(), needle.begin(), needle.end());
  prompt.tokens.insert(prompt.tokens.end(), begin + prompt.place, begin + filler);
  prompt.tokens.insert(prompt.tokens.end(), whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(same));
  prompt.answer.assign(whole.begin() + static_cast<std::ptrdiff_t>(same), whole.end());
  return prompt;
}

std::vector<NeedleScore> needle_scores(const Decoder& model, const Tokenizer& tokenizer, const Corpus& haystack,
                                       const NeedleConfig& config, Progress& progress) {
  const at::NoGradGuard no_gradients;
  std::vector<NeedleScore> scores;
  progress.begin("asking for the pass key", std::ssize(config.lengths) * config.samples);
  std::int64_t done = 0;
  for (const std::int64_t length : config.lengths) {
    NeedleScore score;
    score.length = length;
    std::vector<double> found;
    double loss = 0, tokens = 0;
    for (std::int64_t sample = 0; sample < config.samples; ++sample) {
      if (interrupted()) throw Interrupted{};
      const NeedlePrompt prompt = needle_prompt(tokenizer, haystack, config, length, sample);
      const Answer answer = answer_to(model, prompt);
      found.push_back(answer.found ? 1 : 0);
      loss += answer.loss;
      tokens += static_cast<double>(prompt.answer.size());
      progress.update(++done, fmt::format("{} tokens", length));
    }
    score.found = mean_interval(found);
    score.answer_perplexity = std::exp(loss / tokens);
    scores.push_back(score);
  }
  progress.end();
  return scores;
}

}  // namespace hedgehog
