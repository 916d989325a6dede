#include "hedgehog/checkpoint/gguf_translation.h"

#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

namespace hedgehog {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array<Pair, 11> kLayerParts = {{
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

constexpr std::array<Pair, 3> kModelParts = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
}};

template <std::size_t kCount>
std::string_view look_up(const std::array<Pair, kCount>& table, std::string_view part) {
  for (const auto& [from, to] : table) {
    if (from == part) {
      return to;
    }
  }
  return {};
}

}  // namespace

std::string translate_tensor_name(std::string_view gguf_name) {
  const std::size_t dot = gguf_name.rfind('.');
  if (dot == std::string_view::npos) {
    return std::string(gguf_name);
  }
  const std::string_view stem = gguf_name.substr(0, dot), suffix = gguf_name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") {
    return std::string(gguf_name);
  }
  if (const auto part = look_up(kModelParts, stem); !part.empty()) {
    return fmt::format("{}{}", part, suffix);
  }
  if (stem.starts_with("blk.")) {
    const std::size_t end = stem.find('.', 4);
    const std::string_view layer = stem.substr(4, end == std::string_view::npos ? end : end - 4);
    const bool is_number = !layer.empty() && layer.find_first_not_of("0123456789") == std::string_view::npos;
    if (end != std::string_view::npos && is_number) {
      if (const auto part = look_up(kLayerParts, stem.substr(end + 1)); !part.empty()) {
        return fmt::format("model.layers.{}.{}{}", layer, part, suffix);
      }
    }
  }
  return std::string(gguf_name);
}

TranslatedGguf::TranslatedGguf(std::shared_ptr<const GgufFile> file, const nlohmann::json& config)
    : file_(std::move(file)),
      tensors_(file_->tensors()),
      rows_reordered_(file_->string("general.architecture") == "llama"),
      heads_(config.at("num_attention_heads").get<std::int64_t>()),
      kv_heads_(config.at("num_key_value_heads").get<std::int64_t>()) {
  for (TensorInfo& info : tensors_) {
    info.name = translate_tensor_name(info.name);
  }
  index_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    check(index_.try_emplace(tensors_[i].name, i).second, "{}: has two tensors that stand for {}", origin(), tensors_[i].name);
  }
}

at::Tensor TranslatedGguf::load(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "{}: has no tensor {}", origin(), name);
  at::Tensor tensor = file_->load(file_->tensors()[found->second].name);
  const bool is_q = name.find(".self_attn.q_proj.") != std::string::npos;
  const bool is_k = name.find(".self_attn.k_proj.") != std::string::npos;
  if (!rows_reordered_ || (!is_q && !is_k)) {
    return tensor;
  }
  const std::int64_t heads = is_q ? heads_ : kv_heads_;
  check((tensor.dim() == 1 || tensor.dim() == 2) && tensor.size(0) % (2 * heads) == 0 && tensor.numel() > 0,
        "{}: tensor {} has shape [{}], expected rows for {} heads of even size", origin(), name,
        fmt::join(tensor.sizes(), ", "), heads);
  const std::int64_t half = tensor.size(0) / heads / 2;
  return tensor.view({heads, half, 2, -1}).transpose(1, 2).reshape(tensor.sizes());
}

}  // namespace hedgehog
