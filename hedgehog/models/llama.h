// The Llama family: Llama 1-3, Mistral, Qwen2 (q/k/v bias), Qwen3 (q/k norm), SmolLM2. RMSNorm, RoPE, grouped-query attention,
// SwiGLU. Its tensor names are those that models/decoder.h goes by.
#pragma once

#include "hedgehog/models/decoder.h"

namespace hedgehog {

/// config.json of the four. Throws as decoder_config() does.
DecoderConfig llama_config(const nlohmann::json& config);

}  // namespace hedgehog
