// Generation with the recurrent form: the prompt by the chunked form, then one token at a time, in state of fixed size.
#pragma once

#include "hedgehog/inference/sampler.h"
#include "hedgehog/models/decoder.h"
#include "hedgehog/tokenizer/tokenizer.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hedgehog {

struct GenerationRequest {
  std::vector<std::int32_t> prompt;  // empty: the tokenizer's begin token, or else its end token
  std::int64_t max_tokens = 128;
  SamplerConfig sampler;
  std::vector<std::string> stop;            // generation ends before the first of these
  bool ignore_end = false;                  // go on past the end-of-text token
  std::int64_t chunk_tokens = 512;          // of the prompt, in one call of the chunked form
  at::ScalarType state_dtype = at::kFloat;  // of the linear states: kFloat, kBFloat16 or kChar (int8)
};

struct GenerationResult {
  std::string text;
  std::int64_t prompt_tokens = 0, tokens = 0;  // tokens: chosen ones, an end token not counted
  double prompt_seconds = 0;                   // until the first token is chosen
  double seconds = 0;                          // of the steps after it
  std::int64_t steps = 0;                      // in `seconds`
  std::int64_t state_bytes = 0;                // of all layers, at the end
  std::string stop_reason;                     // "end", "stop", "length", "interrupt"

  double tokens_per_second() const { return seconds > 0 ? static_cast<double>(steps) / seconds : 0; }
  double prompt_tokens_per_second() const {
    return prompt_seconds > 0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0;
  }
};

/// `on_text` gets each piece of text as soon as it is whole UTF-8 and cannot be part of a stop string; `text` is all the
/// pieces. An interrupt (base/interrupt.h) ends it early. Throws Error for a token outside the vocabulary or a request out of
/// range.
GenerationResult generate(const Decoder& model, const Tokenizer& tokenizer, const GenerationRequest& request,
                          const std::function<void(std::string_view)>& on_text = {});

}  // namespace hedgehog
