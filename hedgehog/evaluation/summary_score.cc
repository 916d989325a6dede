#include "hedgehog/evaluation/summary_score.h"

#include "hedgehog/base/error.h"
#include "hedgehog/base/interrupt.h"
#include "hedgehog/evaluation/rouge.h"
#include "hedgehog/inference/engine.h"

#include <algorithm>
#include <numeric>

namespace hedgehog {

SummaryScore summary_score(const Decoder& model, const Tokenizer& tokenizer, std::span<const SummaryExample> examples,
                           std::int64_t most_tokens, Progress& progress) {
  check(!examples.empty(), "there are no dialogues to summarise");
  const auto count = static_cast<double>(examples.size());
  SummaryScore score;
  std::vector<double> one, two, longest;
  double prompt_seconds = 0, seconds = 0;
  std::int64_t prompt_tokens = 0, steps = 0;
  progress.begin("writing summaries", static_cast<std::int64_t>(examples.size()));
  for (const SummaryExample& example : examples) {
    GenerationRequest request;
    request.prompt = example.prompt;
    request.max_tokens = most_tokens;
    const GenerationResult result = generate(model, tokenizer, request);
    if (result.stop_reason == "interrupt") throw Interrupted{};
    const Rouge each = rouge(example.text, result.text);
    one.push_back(each.one.f);
    two.push_back(each.two.f);
    longest.push_back(each.longest.f);
    score.written.push_back(result.text);
    score.ended += result.stop_reason == "end" ? 1 / count : 0;
    score.tokens += static_cast<double>(result.tokens) / count;
    prompt_tokens += result.prompt_tokens;
    prompt_seconds += result.prompt_seconds;
    steps += result.steps;
    seconds += result.seconds;
    const double mean = std::accumulate(one.begin(), one.end(), 0.0) / static_cast<double>(one.size());
    progress.update(std::ssize(one), fmt::format("ROUGE-1 {:.4f}", mean));
  }
  progress.end();
  score.rouge1 = mean_interval(one);
  score.rouge2 = mean_interval(two);
  score.rouge_l = mean_interval(longest);
  score.prompt_tokens_per_second = static_cast<double>(prompt_tokens) / std::max(prompt_seconds, 1e-9);
  score.tokens_per_second = static_cast<double>(steps) / std::max(seconds, 1e-9);
  return score;
}

}  // namespace hedgehog
