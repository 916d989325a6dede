// The part of hedgehog.json that says how the model is built: architecture, attention of each layer, LoRA. One writer, one
// reader, for adapters and for the "hedgehog" object of an exported config.json.
#pragma once

#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace hedgehog {

/// {"model_type", "hidden_size", ...}: what an adapter's tensors depend on.
nlohmann::json describe_architecture(const DecoderConfig& config);
/// Throws Error that names the first value that differs.
void check_architecture(const nlohmann::json& description, const DecoderConfig& config, const std::string& where);

/// Adds "attention" (the common configuration) and "layer_attention" ({"3": {...}} for the layers that differ).
void describe_attention(const Decoder& model, nlohmann::json& description);
/// One configuration a layer.
std::vector<AttentionConfig> described_attention(const nlohmann::json& description, std::int64_t layers,
                                                 const std::string& where);

/// {"q": {"rank": 8, "alpha": 16}, ...}. Throws Error if layers differ.
nlohmann::json describe_lora(const Decoder& model);

struct LoraDescription {
  std::string target;  // a name of kLinearSlots
  std::int64_t rank;
  double alpha;
};
std::vector<LoraDescription> described_lora(const nlohmann::json& description, const std::string& where);

}  // namespace hedgehog
