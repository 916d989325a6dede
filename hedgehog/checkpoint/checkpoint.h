// A model on disk, opened: a Hugging Face directory (config.json, *.safetensors also sharded, the tokenizer's files) or a GGUF
// file. A GGUF file's metadata and tensor names are translated into Hugging Face's, so that models/ knows one naming only.
#pragma once

#include "hedgehog/checkpoint/tensor_source.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hedgehog {

/// What a tokenizer is made of, in whichever form the checkpoint has it. See tokenizer/tokenizer.h.
struct TokenizerSource {
  std::optional<nlohmann::json> tokenizer_json;  // tokenizer.json
  nlohmann::json tokenizer_config;               // tokenizer_config.json, or {}: chat_template, bos_token, eos_token, ...
  // Looked for where there is no tokenizer.json: the bytes of tokenizer.model (SentencePiece) or else vocab.txt (WordPiece).
  std::optional<std::string> sentencepiece_model, word_pieces;
  // From GGUF metadata (tokenizer.ggml.*); empty when one of the above is present.
  std::string gguf_model;         // "gpt2", "llama"
  std::string gguf_pretokenizer;  // "smollm", "llama-bpe", "qwen2", ...
  std::vector<std::string> gguf_tokens;
  std::vector<std::int32_t> gguf_token_types;
  std::vector<float> gguf_scores;
  std::vector<std::string> gguf_merges;
  std::optional<std::int64_t> bos, eos, unknown, padding;
  std::string chat_template;  // Jinja source, or empty
};

struct Checkpoint {
  std::filesystem::path path;
  std::string format;     // "safetensors" or "gguf"
  nlohmann::json config;  // as Hugging Face's config.json: model_type, hidden_size, ...
  std::shared_ptr<const TensorSource> tensors;
  TokenizerSource tokenizer;
};

/// Throws Error for a missing or damaged file, an unknown architecture in a GGUF file, a shard that the index names and is not
/// there.
Checkpoint open_checkpoint(const std::filesystem::path& path);

/// Lower-case hexadecimal SHA-256 of a file's bytes; for a directory, of its *.safetensors files in name order.
std::string checkpoint_sha256(const std::filesystem::path& path);

}  // namespace hedgehog
