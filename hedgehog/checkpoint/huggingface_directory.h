// A Hugging Face directory: config.json, model.safetensors or model.safetensors.index.json with its shards, and the tokenizer's
// files (tokenizer.json, or tokenizer.model, or vocab.txt; tokenizer_config.json, chat_template.jinja), which may be absent.
#pragma once

#include "hedgehog/checkpoint/checkpoint.h"

#include <filesystem>

namespace hedgehog {

/// Throws Error for a missing or damaged file; names both weight files if neither is there.
Checkpoint open_huggingface_directory(const std::filesystem::path& directory);

/// The tokenizer's files alone.
TokenizerSource read_tokenizer_files(const std::filesystem::path& directory);

}  // namespace hedgehog
