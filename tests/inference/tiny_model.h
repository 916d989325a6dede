// A random Llama of two layers without a file, and a tokenizer whose tokens are bytes.
#pragma once

#include "hedgehog/base/error.h"
#include "hedgehog/models/decoder.h"
#include "tests/support/byte_tokenizer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hedgehog::testing {

// Tensors of the shapes that are asked for, random but the same for the same name and seed.
class RandomTensors : public TensorSource {
 public:
  explicit RandomTensors(double scale) : scale_(scale) {
    constexpr std::int64_t kHidden = 32, kVocabulary = 260;
    at::manual_seed(11);
    add("model.embed_tokens.weight", {kVocabulary, kHidden});
    for (int layer = 0; layer < 2; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(prefix + "input_layernorm.weight", {kHidden});
      add(prefix + "post_attention_layernorm.weight", {kHidden});
      add(prefix + "self_attn.q_proj.weight", {32, kHidden});
      add(prefix + "self_attn.k_proj.weight", {16, kHidden});
      add(prefix + "self_attn.v_proj.weight", {16, kHidden});
      add(prefix + "self_attn.o_proj.weight", {kHidden, 32});
      add(prefix + "mlp.gate_proj.weight", {48, kHidden});
      add(prefix + "mlp.up_proj.weight", {48, kHidden});
      add(prefix + "mlp.down_proj.weight", {kHidden, 48});
    }
    add("model.norm.weight", {kHidden});
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  bool contains(const std::string& name) const override { return find(name) != nullptr; }
  at::Tensor load(const std::string& name) const override {
    const at::Tensor* tensor = find(name);
    check(tensor != nullptr, "no tensor {}", name);
    return tensor->clone();
  }
  std::string origin() const override { return "a random model"; }

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    const bool norm = shape.size() == 1;
    tensors_.emplace_back(name, norm ? at::rand(shape) + 0.5 : at::randn(shape) * scale_);
    infos_.push_back({name, "F32", shape, static_cast<std::uint64_t>(tensors_.back().second.numel()) * 4});
  }
  const at::Tensor* find(const std::string& name) const {
    for (const auto& [key, tensor] : tensors_) {
      if (key == name) return &tensor;
    }
    return nullptr;
  }

  double scale_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
  std::vector<TensorInfo> infos_;
};

// 4 query and 2 key/value heads of dimension 8. A larger scale makes surer predictions.
inline Decoder tiny_model(const AttentionConfig& attention = {}, double scale = 0.3) {
  at::set_num_threads(1);  // products this small gain nothing from threads, and waiting for them costs much on a busy machine
  Checkpoint checkpoint;
  checkpoint.path = "tiny";
  checkpoint.format = "safetensors";
  checkpoint.config = {{"model_type", "llama"},           {"vocab_size", 260},      {"hidden_size", 32},
                       {"intermediate_size", 48},         {"num_hidden_layers", 2}, {"num_attention_heads", 4},
                       {"num_key_value_heads", 2},        {"head_dim", 8},          {"hidden_act", "silu"},
                       {"max_position_embeddings", 8192}, {"rms_norm_eps", 1e-5},   {"rope_theta", 10000.0},
                       {"tie_word_embeddings", true}};
  checkpoint.tensors = std::make_shared<RandomTensors>(scale);
  Decoder model(checkpoint);
  if (attention == AttentionConfig{}) return model;
  model.set_attention(attention);
  const at::NoGradGuard no_gradients;
  for (DecoderLayer& layer : model.layers()) {
    for (auto& [name, tensor] : layer.attention.parameters()) {
      tensor->add_(at::randn_like(*tensor), 0.3);
    }
  }
  return model;
}

}  // namespace hedgehog::testing
