// Speed and memory of decoding against the length of what came before.
#pragma once

#include "hedgehog/base/progress.h"
#include "hedgehog/data/corpus.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <vector>

namespace hedgehog::cli {

/// Decoding after a context of `length` tokens.
struct ContextCost {
  std::int64_t length = 0;
  double tokens_per_second = 0;
  std::int64_t state_bytes = 0;
};

/// Decodes 32 tokens after each context that the model's positions allow, taken from `corpus`, repeated as needed.
std::vector<ContextCost> context_costs(const Decoder& model, const Tokenizer& tokenizer, const Corpus& corpus,
                                       const std::vector<std::int64_t>& lengths, Progress& progress);

/// A list of "length", "tokens_per_second", "state_bytes".
nlohmann::json to_json(const std::vector<ContextCost>& costs);

}  // namespace hedgehog::cli
