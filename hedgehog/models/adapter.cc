// Adapter directories: which tensors belong to one, writing, and reading what may be damaged.
#include "hedgehog/models/adapter.h"

#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/models/adapter_description.h"
#include "hedgehog/models/adapter_tensors.h"
#include "hedgehog/models/decoder_layer.h"
#include "hedgehog/models/json_fields.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <set>

namespace hedgehog {

using nlohmann::json;

namespace {

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kMostDescription = std::size_t{16} << 20;

const LinearSlot& slot_of(const std::string& name) {
  return *std::find_if(kLinearSlots.begin(), kLinearSlots.end(), [&](const LinearSlot& slot) { return name == slot.name; });
}

void check_format(const JsonFields& fields) {
  check(fields.text("format") == "hedgehog", "{}: \"format\" should be \"hedgehog\"", fields.where());
  fields.integer("version", kVersion, kVersion);
}

// base.path made absolute, beside it the way from the adapter's directory, and the hash if the caller has not computed it.
json describe_base(const json& given, const std::filesystem::path& directory) {
  json base = given.is_string() ? json{{"path", given}} : given;
  const JsonFields fields(base, "an adapter's description: base");
  const std::filesystem::path path = std::filesystem::weakly_canonical(fields.text("path"));
  base["path"] = path.string();
  base["relative_path"] = path.lexically_relative(std::filesystem::weakly_canonical(directory)).string();
  if (!base.contains("sha256")) base["sha256"] = checkpoint_sha256(path);
  return base;
}

// W + BA of every linear, from `source`'s fp32 weights rather than the model's, so that bf16 rounds once.
void merge_lora(Decoder& model, const TensorSource& source) {
  for (std::size_t i = 0; i < model.layers().size(); ++i) {
    for (const LinearSlot& slot : kLinearSlots) {
      Linear& linear = model.layers()[i].*slot.member;
      if (!linear.lora_a.defined()) continue;
      const std::string name = fmt::format("model.{}{}.weight", layer_tensor_prefix(i), slot.hugging_face);
      linear.weight = source.load_float(name, linear.weight.sizes().vec());
      linear.merge_lora();
      linear.weight = linear.weight.to(model.dtype());
    }
  }
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor*>> adapter_tensors(Decoder& model, bool full_weights) {
  std::vector<std::pair<std::string, at::Tensor*>> result;
  if (full_weights) result = model.weights();
  for (std::size_t i = 0; i < model.layers().size(); ++i) {
    DecoderLayer& layer = model.layers()[i];
    const std::string prefix = layer_tensor_prefix(i);
    for (auto& [name, tensor] : layer.attention.parameters()) result.emplace_back(prefix + "attention." + name, tensor);
    for (const LinearSlot& slot : kLinearSlots) {
      Linear& linear = layer.*slot.member;
      if (!linear.lora_a.defined()) continue;
      result.emplace_back(prefix + slot.name + ".lora_a", &linear.lora_a);
      result.emplace_back(prefix + slot.name + ".lora_b", &linear.lora_b);
    }
  }
  return result;
}

std::string layer_tensor_prefix(std::size_t layer) {
  return fmt::format("layers.{}.", layer);
}

json describe_model(const Decoder& model, json description) {
  check(description.is_null() || description.is_object(), "an adapter's description should be a JSON object");
  description["format"] = "hedgehog";
  description["version"] = kVersion;
  description["architecture"] = describe_architecture(model.config());
  describe_attention(model, description);
  return description;
}

std::vector<Attention> load_attention(const json& description, const TensorSource& source, const std::string& prefix,
                                      const DecoderConfig& config, const std::string& where) {
  std::vector<Attention> result;
  const std::vector<AttentionConfig> configs = described_attention(description, config.layers, where);
  for (const AttentionConfig& each : configs) check(each.causal, "{}: a language model's attention is causal", where);
  for (std::size_t i = 0; i < configs.size(); ++i) {
    // One layer at a time, so that a lying description costs one layer's memory before a tensor turns out to be missing.
    Attention attention(configs[i], config.heads, config.kv_heads, config.head_dim, config.hidden);
    for (auto& [name, tensor] : attention.parameters()) {
      *tensor = source.load_float(prefix + layer_tensor_prefix(i) + "attention." + name, tensor->sizes().vec());
    }
    result.push_back(std::move(attention));
  }
  return result;
}

void write_adapter(const std::filesystem::path& directory, Decoder& model, bool full_weights, json description) {
  std::filesystem::create_directories(directory);
  description = describe_model(model, std::move(description));
  check(description.contains("base"), "an adapter's description should have \"base\": {{\"path\": …}}");
  description["base"] = describe_base(description["base"], directory);
  description["lora"] = describe_lora(model);
  description["full_weights"] = full_weights;
  NamedTensors tensors;
  for (const auto& [name, tensor] : adapter_tensors(model, full_weights)) tensors.emplace_back(name, tensor->detach());
  write_safetensors(directory / "adapter.safetensors", tensors, {{"format", "pt"}});
  write_text_file(directory / "hedgehog.json", description.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

json read_adapter(const std::filesystem::path& directory, const Checkpoint& checkpoint, LoraForm lora_form,
                  Decoder& model) try {
  const std::string where = (directory / "hedgehog.json").string();
  json description = read_json_object(where, kMostDescription);
  const JsonFields fields(description, where);
  check_format(fields);
  check_architecture(description, model.config(), where);
  const std::string expected = fields.object("base").text("sha256"), found = checkpoint_sha256(checkpoint.path);
  check(expected == found, "{}: made for a base model with sha256 {}, but {} has {}", where, brief(expected),
        checkpoint.path.string(), found);
  const SafetensorsFile source(directory / "adapter.safetensors");
  const at::NoGradGuard no_gradients;
  std::set<std::string> used;
  const auto load = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    used.insert(name);
    return source.load_float(name, shape);
  };

  // All is read into a copy, so that a damaged adapter leaves `model` as it was.
  Decoder changed = model;
  std::vector<Attention> attention = load_attention(description, source, "", model.config(), where);
  const std::vector<LoraDescription> lora = described_lora(description, where);
  for (std::size_t i = 0; i < changed.layers().size(); ++i) {
    DecoderLayer& layer = changed.layers()[i];
    layer.attention = std::move(attention[i]);
    for (const LinearSlot& slot : kLinearSlots) (layer.*slot.member).drop_lora();
    for (const LoraDescription& target : lora) {
      const LinearSlot& slot = slot_of(target.target);
      Linear& linear = layer.*slot.member;
      const std::string name = layer_tensor_prefix(i) + slot.name;
      linear.lora_a = load(name + ".lora_a", {target.rank, linear.weight.size(1)});
      linear.lora_b = load(name + ".lora_b", {linear.weight.size(0), target.rank});
      linear.lora_scale = target.alpha / static_cast<double>(target.rank);
    }
  }
  const bool full_weights = fields.boolean_or("full_weights", false);
  if (full_weights) {
    for (auto& [name, tensor] : changed.weights()) *tensor = load(name, tensor->sizes().vec()).to(model.dtype());
  }
  for (const auto& [name, tensor] : adapter_tensors(changed, full_weights)) used.insert(name);
  for (const TensorInfo& info : source.tensors()) {
    check(used.contains(info.name), "{}: tensor \"{}\" is not part of the adapter that hedgehog.json describes",
          source.origin(), info.name);
  }
  if (lora_form == LoraForm::kMerged) {
    if (full_weights) {
      merge_lora(changed, source);
    } else {
      merge_lora(changed, *decoder_tensors(checkpoint));
    }
  }
  model = std::move(changed);
  return description;
} catch (const c10::Error& error) {
  fail("{}: cannot be used: {}", directory.string(), error.what_without_backtrace());
}

}  // namespace hedgehog
