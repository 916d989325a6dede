// The result of a conversion: a directory with hedgehog.json (base model and its sha256, attention form, map, layers, recipe,
// data, metrics, version) and adapter.safetensors (maps, gates, LoRA, or changed weights). The base is never written to.
#pragma once

#include "hedgehog/models/decoder.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace hedgehog {

/// What an adapter may ask for. Rings of exact keys are allocated at their size, so that a damaged file must not choose it
/// freely.
constexpr std::int64_t kMostExactKeys = 65536;  // window, sinks
constexpr std::int64_t kMostFeatureDim = 4096, kMostLoraRank = 65536;

/// hedgehog.json's part that says how the model's attention is built.
nlohmann::json to_json(const AttentionConfig& config);
AttentionConfig attention_config(const nlohmann::json& json);

/// All that training may have changed: attention weights "layers.3.attention.q_map.weight", LoRA "layers.3.q.lora_a", and, when
/// `full_weights`, every base weight under its Hugging Face name.
std::vector<std::pair<std::string, at::Tensor*>> adapter_tensors(Decoder& model, bool full_weights);

/// `description` holds base, recipe, data, metrics; attention, LoRA and version are added here. Writes atomically:
/// adapter.safetensors first, hedgehog.json last.
void write_adapter(const std::filesystem::path& directory, Decoder& model, bool full_weights, nlohmann::json description);

/// How an adapter's LoRA is held: separate to be trained further; merged to be used, which is faster, and in bf16 rounds W + BA
/// once, so that an exported directory gives equal results.
enum class LoraForm { kSeparate, kMerged };

/// Installs the adapter of `directory` into `model`. Throws Error if its base has another architecture or sha256 than
/// `checkpoint`, or a tensor is missing or of a wrong shape. Returns hedgehog.json.
nlohmann::json read_adapter(const std::filesystem::path& directory, const Checkpoint& checkpoint, LoraForm lora,
                            Decoder& model);

/// A model as a command takes it: a checkpoint, an adapter directory (whose base is opened too), or an exported directory
/// (whose config.json has a "hedgehog" object).
struct LoadedModel {
  Checkpoint checkpoint;
  Decoder model;
  nlohmann::json hedgehog;  // hedgehog.json, or null for a plain softmax model
};
LoadedModel load_model(const std::filesystem::path& path, at::ScalarType dtype, LoraForm lora = LoraForm::kMerged);

/// Merges base, LoRA and attention weights into one Hugging Face directory (config.json with a "hedgehog" object,
/// model.safetensors). The tokenizer is written by tokenizer/'s write_tokenizer.
void export_model(const std::filesystem::path& directory, LoadedModel& loaded);

}  // namespace hedgehog
