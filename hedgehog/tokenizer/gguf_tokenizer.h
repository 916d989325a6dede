// A tokenizer that came as GGUF metadata, written as the tokenizer.json that it was made of.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"

#include <nlohmann/json.hpp>

namespace hedgehog {

/// tokenizer.json of the source: its own, or one built from its GGUF fields.
/// Throws Error for a model or pre-tokenizer that is not known, and for fields that don't fit together.
nlohmann::json tokenizer_json_of(const TokenizerSource& source);

/// tokenizer_config.json of the source, its chat template included.
nlohmann::json tokenizer_config_of(const TokenizerSource& source);

}  // namespace hedgehog
