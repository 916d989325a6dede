#include "hedgehog/models/gpt2.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/json_fields.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

namespace hedgehog {
namespace {

constexpr std::string_view kLayer = "model.layers.";

// Names inside a block, ours and GPT-2's; norms and linears have a weight and a bias each.
struct BlockName {
  std::string_view ours, gpt2;
  bool matrix;
  int part;  // of the three that c_attn holds
};
constexpr std::array<BlockName, 8> kBlockNames{{{"input_layernorm", "ln_1", false, -1},
                                                {"post_attention_layernorm", "ln_2", false, -1},
                                                {"self_attn.q_proj", "attn.c_attn", true, 0},
                                                {"self_attn.k_proj", "attn.c_attn", true, 1},
                                                {"self_attn.v_proj", "attn.c_attn", true, 2},
                                                {"self_attn.o_proj", "attn.c_proj", true, -1},
                                                {"mlp.up_proj", "mlp.c_fc", true, -1},
                                                {"mlp.down_proj", "mlp.c_proj", true, -1}}};

struct Place {
  std::string name;     // in GPT-2's file, without "transformer."
  bool matrix = false;  // [in, out] there
  int part = -1;
};

// Where one of our names stands in GPT-2's file; no name: nowhere.
Place place_of(const std::string& ours) {
  if (ours == "model.embed_tokens.weight") return {"wte.weight"};
  if (ours == "model.embed_positions.weight") return {"wpe.weight"};
  if (ours == "model.norm.weight") return {"ln_f.weight"};
  if (ours == "model.norm.bias") return {"ln_f.bias"};
  if (!ours.starts_with(kLayer)) return {};
  const auto number_end = ours.find('.', kLayer.size()), kind = ours.rfind('.');
  if (number_end == std::string::npos || kind <= number_end) return {};
  const std::string_view inside = std::string_view(ours).substr(number_end + 1, kind - number_end - 1);
  for (const BlockName& block : kBlockNames) {
    if (block.ours != inside) continue;
    const std::string name =
        fmt::format("h.{}.{}{}", ours.substr(kLayer.size(), number_end - kLayer.size()), block.gpt2, ours.substr(kind));
    return {name, block.matrix && ours.ends_with(".weight"), block.part};
  }
  return {};
}

class Gpt2Tensors : public TensorSource {
 public:
  Gpt2Tensors(std::shared_ptr<const TensorSource> file, std::int64_t hidden) : file_(std::move(file)), hidden_(hidden) {
    prefix_ = file_->contains("transformer.wte.weight") ? "transformer." : "";
  }

  const std::vector<TensorInfo>& tensors() const override { return file_->tensors(); }
  bool contains(const std::string& name) const override {
    const Place place = place_of(name);
    return file_->contains(place.name.empty() ? name : prefix_ + place.name);
  }
  at::Tensor load(const std::string& name) const override {
    const Place place = place_of(name);
    if (place.name.empty()) return file_->load(name);
    at::Tensor tensor = file_->load(prefix_ + place.name);
    if (place.part >= 0) {
      const std::int64_t width = tensor.dim() > 0 ? tensor.size(-1) : 0;
      check(width == 3 * hidden_, "{}: tensor \"{}{}\" should have {} columns for q, k and v, found {}", origin(), prefix_,
            place.name, 3 * hidden_, width);
      tensor = tensor.narrow(-1, place.part * hidden_, hidden_);
    }
    if (place.matrix && tensor.dim() == 2) tensor = tensor.t();
    return tensor.contiguous();
  }
  std::string origin() const override { return file_->origin(); }
  std::string described(const std::string& name) const override {
    const Place place = place_of(name);
    return place.name.empty() ? name : prefix_ + place.name + (place.matrix ? " (transposed)" : "");
  }

 private:
  std::shared_ptr<const TensorSource> file_;
  std::int64_t hidden_;
  std::string prefix_;
};

}  // namespace

DecoderConfig gpt2_config(const nlohmann::json& json) {
  const JsonFields fields(json, "config.json");
  DecoderConfig config;
  config.model_type = "gpt2";
  config.vocabulary = fields.integer("vocab_size", 1, 1 << 24);
  config.hidden = fields.integer("n_embd", 1, 1 << 17);
  config.layers = fields.integer("n_layer", 1, 4096);
  config.heads = config.kv_heads = fields.integer("n_head", 1, 4096);
  check(config.hidden % config.heads == 0, "config.json: \"n_embd\" ({}) should be a multiple of \"n_head\" ({})",
        config.hidden, config.heads);
  config.head_dim = config.hidden / config.heads;
  config.intermediate = fields.integer_or("n_inner", 4 * config.hidden, 1, 1 << 20);
  config.max_positions = fields.integer_or("n_positions", 1024, 1, 1 << 24);
  config.norm_epsilon = fields.number_or("layer_norm_epsilon", 1e-5, 0, 1);
  config.activation = fields.text_or("activation_function", "gelu_new");
  const std::string& activation = config.activation;
  if (activation == "gelu_pytorch_tanh" || activation == "gelu_fast") config.activation = "gelu_new";
  check(activation == "gelu_new" || activation == "gelu" || activation == "relu",
        "config.json: \"activation_function\" should be gelu_new, gelu or relu, found {}", brief(activation));
  check(fields.boolean_or("scale_attn_weights", true), "config.json: \"scale_attn_weights\" false is not supported");
  check(!fields.boolean_or("scale_attn_by_inverse_layer_idx", false),
        "config.json: \"scale_attn_by_inverse_layer_idx\" is not supported");
  check(!fields.boolean_or("add_cross_attention", false), "config.json: \"add_cross_attention\" is not supported");
  config.learned_positions = config.layer_norm = true;
  config.qkv_bias = config.output_bias = config.mlp_bias = true;
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", true);
  config.windows.assign(static_cast<std::size_t>(config.layers), 0);
  return config;
}

std::shared_ptr<const TensorSource> gpt2_tensors(std::shared_ptr<const TensorSource> file, const DecoderConfig& config) {
  return std::make_shared<Gpt2Tensors>(std::move(file), config.hidden);
}

NamedTensors as_gpt2_tensors(const NamedTensors& tensors) {
  NamedTensors result;
  std::map<std::string, std::vector<at::Tensor>> parts;
  for (const auto& [name, tensor] : tensors) {
    const Place place = place_of(name);
    if (place.name.empty()) {
      result.emplace_back(name, tensor);
      continue;
    }
    const std::string there = "transformer." + place.name;
    const auto turned = place.matrix ? tensor.t().contiguous() : tensor;
    if (place.part < 0) {
      result.emplace_back(there, turned);
      continue;
    }
    auto& found = parts[there];
    found.resize(3);
    found[static_cast<std::size_t>(place.part)] = turned;
    const bool whole = std::all_of(found.begin(), found.end(), [](const at::Tensor& part) { return part.defined(); });
    if (whole) result.emplace_back(there, at::cat(found, -1));
  }
  return result;
}

}  // namespace hedgehog
