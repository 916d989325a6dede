// A tokenizer that did not come as tokenizer.json, written as one: byte-level BPE out of GGUF metadata, WordPiece out of
// vocab.txt.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"

#include <nlohmann/json.hpp>

namespace hedgehog {

/// tokenizer.json of the source: its own, or one built from its vocab.txt or GGUF fields.
/// Throws Error for a model or pre-tokenizer that is not known, and for fields that don't fit together.
nlohmann::json tokenizer_json_of(const TokenizerSource& source);

}  // namespace hedgehog
