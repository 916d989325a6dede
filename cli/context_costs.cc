#include "cli/context_costs.h"

#include "hedgehog/base/interrupt.h"
#include "hedgehog/inference/engine.h"

#include <fmt/format.h>

#include <algorithm>

namespace hedgehog::cli {

std::vector<ContextCost> context_costs(const Decoder& model, const Tokenizer& tokenizer, const Corpus& corpus,
                                       const std::vector<std::int64_t>& lengths, Progress& progress) {
  constexpr std::int64_t kDecoded = 32;
  std::vector<ContextCost> costs;
  progress.begin("measuring speed", std::ssize(lengths));
  for (const std::int64_t length : lengths) {
    progress.update(std::ssize(costs), fmt::format("context {}", length));
    GenerationRequest request;
    const std::int64_t most = std::max<std::int64_t>(model.config().max_positions - kDecoded, 1);
    request.prompt.resize(static_cast<std::size_t>(std::min(length, most)));
    for (std::size_t i = 0; i < request.prompt.size(); ++i) request.prompt[i] = corpus.tokens[i % corpus.tokens.size()];
    request.max_tokens = kDecoded;
    request.ignore_end = true;
    const GenerationResult result = generate(model, tokenizer, request);
    if (interrupted()) throw Interrupted{};
    costs.push_back({std::ssize(request.prompt), result.tokens_per_second(), result.state_bytes});
  }
  progress.update(std::ssize(costs), "");
  progress.end();
  return costs;
}

nlohmann::json to_json(const std::vector<ContextCost>& costs) {
  nlohmann::json list = nlohmann::json::array();
  for (const ContextCost& cost : costs) {
    list.push_back({{"length", cost.length}, {"tokens_per_second", cost.tokens_per_second}, {"state_bytes", cost.state_bytes}});
  }
  return list;
}

}  // namespace hedgehog::cli
