// A WordPiece tokenizer that came as vocab.txt (a token a line, the first has id 0) and tokenizer_config.json, written as the
// tokenizer.json that transformers' BertTokenizer makes of them.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"

#include <nlohmann/json.hpp>

namespace hedgehog {

/// Of a source with `word_pieces`. Throws Error that names the line for a vocabulary with a token twice, or not UTF-8, and for
/// a tokenizer_class that is none of BERT's.
nlohmann::json word_piece_tokenizer_json(const TokenizerSource& source);

}  // namespace hedgehog
