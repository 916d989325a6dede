// Loading, and the walk over the blocks in its three uses: training, visiting, continuing a state.
#include "hedgehog/models/llama.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/llama_layer.h"
#include "hedgehog/models/recompute.h"
#include "hedgehog/models/weight_visitor.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace hedgehog {
namespace {

// Calls visit with every weight of one block: the one list of names and shapes, for loading and for writing.
void visit_layer(const LlamaConfig& config, const std::string& prefix, LlamaLayer& layer, const WeightVisitor& visit) {
  visit(prefix + "input_layernorm.weight", layer.input_norm, {config.hidden});
  visit(prefix + "post_attention_layernorm.weight", layer.post_attention_norm, {config.hidden});
  if (config.qk_norm) {
    visit(prefix + "self_attn.q_norm.weight", layer.q_norm, {config.head_dim});
    visit(prefix + "self_attn.k_norm.weight", layer.k_norm, {config.head_dim});
  }
  const std::int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const auto linear = [&](const LinearSlot& slot, std::int64_t out, std::int64_t in, bool bias) {
    Linear& target = layer.*slot.member;
    visit(prefix + slot.hugging_face + ".weight", target.weight, {out, in});
    if (bias) visit(prefix + slot.hugging_face + ".bias", target.bias, {out});
  };
  linear(kLinearSlots[0], q, config.hidden, config.qkv_bias);
  linear(kLinearSlots[1], kv, config.hidden, config.qkv_bias);
  linear(kLinearSlots[2], kv, config.hidden, config.qkv_bias);
  linear(kLinearSlots[3], config.hidden, q, config.output_bias);
  linear(kLinearSlots[4], config.intermediate, config.hidden, config.mlp_bias);
  linear(kLinearSlots[5], config.intermediate, config.hidden, config.mlp_bias);
  linear(kLinearSlots[6], config.hidden, config.intermediate, config.mlp_bias);
}

std::string layer_prefix(std::size_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

Attention make_attention(const LlamaConfig& config, AttentionConfig attention, std::size_t layer) {
  if (attention.kind == AttentionKind::kSoftmax && attention.window == 0) attention.window = config.windows[layer];
  return Attention(attention, config.heads, config.kv_heads, config.head_dim, config.hidden);
}

LayerShape shape_of(const LlamaConfig& config) {
  return {config.heads, config.kv_heads, config.head_dim, config.norm_epsilon};
}

void check_tokens(const at::Tensor& tokens, const at::Tensor& segment_start, std::int64_t vocabulary) {
  check(tokens.dim() == 2 && tokens.scalar_type() == at::kLong && tokens.numel() > 0,
        "tokens should be int64 [batch, length] and not empty");
  const auto [least, most] = at::aminmax(tokens);
  check(least.item<std::int64_t>() >= 0 && most.item<std::int64_t>() < vocabulary,
        "token ids should be from 0 to {}, found {} to {}: does the tokenizer belong to this model?", vocabulary - 1,
        least.item<std::int64_t>(), most.item<std::int64_t>());
  check(!segment_start.defined() || segment_start.sizes() == tokens.sizes(),
        "segment_start should have the shape of tokens, [batch, length]");
}

RotaryTable table_for(const LlamaConfig& config, const at::Tensor& tokens, const at::Tensor& segment_start) {
  at::Tensor positions = at::arange(tokens.size(1), at::kLong);
  if (segment_start.defined()) positions = positions - segment_start;
  return rotary_table(config.rotary, config.head_dim, positions);
}

}  // namespace

Llama::Llama(const Checkpoint& checkpoint, at::ScalarType dtype) : config_(llama_config(checkpoint.config)) {
  const TensorSource& source = *checkpoint.tensors;
  if (!checkpoint.config.contains("tie_word_embeddings") && !source.contains("lm_head.weight")) config_.tied_embeddings = true;
  const WeightVisitor load = weight_loader(source, {}, dtype);
  load("model.embed_tokens.weight", embedding_, {config_.vocabulary, config_.hidden});
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    const auto index = static_cast<std::size_t>(i);
    LlamaLayer layer{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, make_attention(config_, {}, index)};
    visit_layer(config_, layer_prefix(index), layer, load);
    layers_.push_back(std::move(layer));
  }
  load("model.norm.weight", norm_, {config_.hidden});
  if (!tied()) load("lm_head.weight", output_, {config_.vocabulary, config_.hidden});
}

std::vector<std::pair<std::string, at::Tensor*>> Llama::weights() {
  std::vector<std::pair<std::string, at::Tensor*>> result{{"model.embed_tokens.weight", &embedding_}};
  const WeightVisitor collect = weight_collector(result);
  for (std::size_t i = 0; i < layers_.size(); ++i) visit_layer(config_, layer_prefix(i), layers_[i], collect);
  result.emplace_back("model.norm.weight", &norm_);
  if (!tied()) result.emplace_back("lm_head.weight", &output_);
  return result;
}

at::Tensor Llama::forward(const at::Tensor& tokens, const at::Tensor& segment_start) const {
  check_tokens(tokens, segment_start, config_.vocabulary);
  const RotaryTable table = table_for(config_, tokens, segment_start);
  const LayerShape shape = shape_of(config_);
  Residual residual{at::embedding(embedding_, tokens), {}};
  for (const LlamaLayer& layer : layers_) {
    const auto run = [shape, table, segment_start, control = control](const LlamaLayer& block, const Residual& in) {
      return layer_forward(block, shape, table, segment_start, in,
                           [&](const AttentionInput& input) { return block.attention.forward(input, control); });
    };
    if (!gradient_checkpointing || !at::GradMode::is_enabled()) {
      residual = run(layer, residual);
      continue;
    }
    std::vector<at::Tensor> inputs{residual.hidden};
    if (residual.delta.defined()) inputs.push_back(residual.delta);
    // The copy shares the block's tensors and outlives this call.
    const std::vector<at::Tensor> outputs = recompute(
        [run, block = layer](const std::vector<at::Tensor>& in) {
          const Residual out = run(block, {in[0], in.size() > 1 ? in[1] : at::Tensor()});
          return std::vector<at::Tensor>{out.hidden, out.delta};
        },
        inputs);
    residual = {outputs[0], outputs[1]};
  }
  return norm_residual(residual, norm_, config_.norm_epsilon).second;
}

at::Tensor Llama::forward_visiting(const at::Tensor& tokens, const at::Tensor& segment_start, bool softmax_only,
                                   const LayerVisitor& visit) const {
  check_tokens(tokens, segment_start, config_.vocabulary);
  const at::NoGradGuard no_gradients;
  const RotaryTable table = table_for(config_, tokens, segment_start);
  Residual residual{at::embedding(embedding_, tokens), {}};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const LlamaLayer& layer = layers_[i];
    residual = layer_forward(layer, shape_of(config_), table, segment_start, residual, [&](const AttentionInput& input) {
      if (visit) visit(static_cast<std::int64_t>(i), input);
      if (softmax_only) return make_attention(config_, {}, i).forward(input);
      return layer.attention.forward(input, control);
    });
  }
  return norm_residual(residual, norm_, config_.norm_epsilon).second;
}

at::Tensor Llama::continue_from(std::vector<AttentionState>& states, const at::Tensor& tokens) const {
  check_tokens(tokens, {}, config_.vocabulary);
  check(states.empty() || states.size() == layers_.size(), "a state should have {} layers, found {}", layers_.size(),
        states.size());
  const at::NoGradGuard no_gradients;
  states.resize(layers_.size());
  const std::int64_t start = states[0].position;
  const RotaryTable table =
      rotary_table(config_.rotary, config_.head_dim, at::arange(start, start + tokens.size(1), at::kLong));
  Residual residual{at::embedding(embedding_, tokens), {}};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    residual = layer_forward(layers_[i], shape_of(config_), table, {}, residual,
                             [&](const AttentionInput& input) { return layers_[i].attention.continue_from(states[i], input); });
  }
  return norm_residual(residual, norm_, config_.norm_epsilon).second;
}

at::Tensor Llama::logits(const at::Tensor& hidden) const {
  Linear output;
  output.weight = output_weight();
  return output.forward(hidden);
}

void Llama::set_attention(const AttentionConfig& config, const std::vector<std::int64_t>& keep_softmax) {
  for (const std::int64_t layer : keep_softmax) {
    check(layer >= 0 && layer < config_.layers, "layers that keep softmax should be from 0 to {}, found {}", config_.layers - 1,
          layer);
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool kept = std::find(keep_softmax.begin(), keep_softmax.end(), static_cast<std::int64_t>(i)) != keep_softmax.end();
    layers_[i].attention = make_attention(config_, kept ? AttentionConfig{} : config, i);
  }
}

Llama Llama::teacher() const {
  Llama copy = *this;
  copy.set_attention({});
  copy.gradient_checkpointing = false;
  copy.control = AttentionControl::kNone;
  for (LlamaLayer& layer : copy.layers_) {
    for (const LinearSlot& slot : kLinearSlots) {
      Linear& linear = layer.*slot.member;
      linear.lora_a = linear.lora_b = at::Tensor();
      linear.lora_scale = 0;
    }
  }
  return copy;
}

}  // namespace hedgehog
