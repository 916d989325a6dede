// GPT-2: LayerNorm, learned positions, GELU. Its files have q, k and v in one matrix, and matrices as [in, out].
#pragma once

#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/models/decoder.h"

#include <memory>

namespace hedgehog {

/// Throws as decoder_config() does.
DecoderConfig gpt2_config(const nlohmann::json& config);

/// GPT-2's tensors, with or without "transformer." before their names, as a Llama's.
std::shared_ptr<const TensorSource> gpt2_tensors(std::shared_ptr<const TensorSource> file, const DecoderConfig& config);

/// The way back: Decoder::weights() by GPT-2's names and layout. Others stay as they are.
NamedTensors as_gpt2_tensors(const NamedTensors& tensors);

}  // namespace hedgehog
