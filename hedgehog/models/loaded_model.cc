// load_model: a checkpoint, an adapter or an exported directory; export_model: the directory that it reads again.
#include "hedgehog/base/atomic_file.h"
#include "hedgehog/base/error.h"
#include "hedgehog/checkpoint/json_file.h"
#include "hedgehog/checkpoint/safetensors.h"
#include "hedgehog/models/adapter.h"
#include "hedgehog/models/adapter_tensors.h"
#include "hedgehog/models/decoder_layer.h"
#include "hedgehog/models/gpt2.h"
#include "hedgehog/models/json_fields.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <array>

namespace hedgehog {

using nlohmann::json;

namespace {

constexpr const char* kExportPrefix = "hedgehog.";

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Where the base model of an adapter is now: as recorded, or by the way from the adapter, which survives moving both.
std::filesystem::path find_base(const std::filesystem::path& directory) {
  const std::string where = (directory / "hedgehog.json").string();
  const json description = read_json_object(where, std::size_t{16} << 20);
  const JsonFields base = JsonFields(description, where).object("base");
  const std::filesystem::path path = base.text("path");
  if (is_there(path)) return path;
  const std::filesystem::path moved = directory / base.text_or("relative_path", "");
  check(base.has("relative_path") && is_there(moved), "{}: the base model is neither at {} nor at {}", where, path.string(),
        moved.string());
  return moved;
}

LoadedModel load_checkpoint(const std::filesystem::path& path, at::ScalarType dtype) {
  Checkpoint checkpoint = open_checkpoint(path);
  Decoder model(checkpoint, dtype);
  json description;
  if (checkpoint.config.contains("hedgehog")) {
    description = checkpoint.config["hedgehog"];
    const std::string where = (path / "config.json").string() + ": hedgehog";
    JsonFields(description, where).integer("version", 1, 1);
    const at::NoGradGuard no_gradients;
    std::vector<Attention> attention = load_attention(description, *checkpoint.tensors, kExportPrefix, model.config(), where);
    for (std::size_t i = 0; i < attention.size(); ++i) model.layers()[i].attention = std::move(attention[i]);
  }
  return {std::move(checkpoint), std::move(model), std::move(description)};
}

// transformers picks its class by this name.
std::string architecture_of(const std::string& model_type) {
  constexpr std::array<std::pair<const char*, const char*>, 5> kNames{{{"gpt2", "GPT2LMHeadModel"},
                                                                       {"llama", "LlamaForCausalLM"},
                                                                       {"mistral", "MistralForCausalLM"},
                                                                       {"qwen2", "Qwen2ForCausalLM"},
                                                                       {"qwen3", "Qwen3ForCausalLM"}}};
  for (const auto& [type, name] : kNames) {
    if (model_type == type) return name;
  }
  fail("no architecture name is known for \"{}\"", model_type);
}

}  // namespace

LoadedModel load_model(const std::filesystem::path& path, at::ScalarType dtype, LoraForm lora) try {
  if (!is_there(path / "hedgehog.json")) return load_checkpoint(path, dtype);
  LoadedModel loaded = load_checkpoint(find_base(path), dtype);
  loaded.hedgehog = read_adapter(path, loaded.checkpoint, lora, loaded.model);
  return loaded;
} catch (const c10::Error& error) {
  fail("{}: cannot be loaded: {}", path.string(), error.what_without_backtrace());
} catch (const std::filesystem::filesystem_error& error) {
  fail("{}: cannot be loaded: {}", path.string(), error.what());
}

void export_model(const std::filesystem::path& directory, LoadedModel& loaded) {
  std::error_code error;
  const bool same = std::filesystem::equivalent(directory, loaded.checkpoint.path, error);
  check(!same, "{}: the base model is there, and it is never written to; choose another directory", directory.string());
  std::filesystem::create_directories(directory, error);
  check(!error, "{}: cannot make the folder: {}", directory.string(), error.message());
  Decoder merged = loaded.model;
  NamedTensors tensors;
  for (DecoderLayer& layer : merged.layers()) {
    for (const LinearSlot& slot : kLinearSlots) (layer.*slot.member).merge_lora();
  }
  for (const auto& [name, tensor] : merged.weights()) tensors.emplace_back(name, tensor->detach());
  if (merged.config().model_type == "gpt2") tensors = as_gpt2_tensors(tensors);
  for (const auto& [name, tensor] : adapter_tensors(merged, /*full_weights=*/false)) {
    tensors.emplace_back(kExportPrefix + name, tensor->detach());
  }
  json config = loaded.checkpoint.config;
  const char* dtype = merged.dtype() == at::kBFloat16 ? "bfloat16" : "float32";
  config["architectures"] = json::array({architecture_of(merged.config().model_type)});
  config["tie_word_embeddings"] = merged.config().tied_embeddings;
  config["dtype"] = config["torch_dtype"] = dtype;
  json description = loaded.hedgehog.is_object() ? loaded.hedgehog : json::object();
  description.erase("lora");
  description.erase("full_weights");
  config["hedgehog"] = describe_model(merged, std::move(description));
  write_safetensors(directory / "model.safetensors", tensors, {{"format", "pt"}});
  write_text_file(directory / "config.json", config.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

}  // namespace hedgehog
