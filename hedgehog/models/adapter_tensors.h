// What adapters and exported directories share: names of the added tensors, loading attention, the common description.
#pragma once

#include "hedgehog/checkpoint/tensor_source.h"
#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace hedgehog {

/// "layers.3."
std::string layer_tensor_prefix(std::size_t layer);

/// `description` with format, version, architecture and attention added.
nlohmann::json describe_model(const Decoder& model, nlohmann::json description);

/// The attention of every layer as `description` says, weights "<prefix>layers.N.attention.…" out of `source`.
std::vector<Attention> load_attention(const nlohmann::json& description, const TensorSource& source, const std::string& prefix,
                                      const DecoderConfig& config, const std::string& where);

}  // namespace hedgehog
