// A SentencePiece tokenizer out of tokenizer.model or GGUF metadata: its model, and what stands around it, as transformers'
// LlamaTokenizer has it.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"
#include "hedgehog/tokenizer/sentencepiece_model.h"

#include <nlohmann/json.hpp>

namespace hedgehog {

struct SentencePieceTokenizer {
  SentencePieceModel model;
  nlohmann::json description;  // added_tokens, pre_tokenizer, post_processor, decoder as in tokenizer.json; no model
};

/// Whether the source is of this kind.
bool is_sentencepiece(const TokenizerSource& source);

/// The model of such a source, as its file has it. Throws Error that names the piece for a damaged one.
SentencePieceModel sentencepiece_model_of(const TokenizerSource& source);

/// The whole tokenizer. Throws Error for a tokenizer_class whose text or ids differ from LlamaTokenizer's.
/// BPE models that leave the text alone but for blanks (Llama 1 and 2, Mistral): a stretch of text begins with a blank if
/// tokenizer_config.json's add_prefix_space is not false; with legacy behind every added token, else at the text's start only.
/// Others: each stretch of text between added tokens is normalized as a text of its own, dummy prefix included.
SentencePieceTokenizer read_sentencepiece_tokenizer(const TokenizerSource& source);

}  // namespace hedgehog
