// Generation with the recurrent form: the prompt by the chunked form, then one token at a time, in state of fixed size.
#pragma once

#include "hedgehog/inference/sampler.h"
#include "hedgehog/models/llama.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct GenerationRequest {
  std::vector<std::int32_t> prompt;
  std::int64_t max_tokens = 128;
  SamplerConfig sampler;
  std::vector<std::string> stop;  // generation ends before the first of these
  bool ignore_end = false;        // go on past the end-of-text token
};

struct GenerationResult {
  std::string text;
  std::int64_t prompt_tokens = 0, tokens = 0;
  double prompt_seconds = 0, seconds = 0;  // the tokens' own time excludes the prompt's
  std::int64_t state_bytes = 0;            // of all layers, at the end
  std::string stop_reason;                 // "end", "stop", "length"
};

/// `on_text` gets each piece of text as soon as it is whole UTF-8 and cannot be part of a stop string.
GenerationResult generate(const Llama& model, const Tokenizer& tokenizer, const GenerationRequest& request,
                          const std::function<void(std::string_view)>& on_text = {});

}  // namespace hedgehog
