// Loading, and the walk over the blocks in its three uses: training, visiting, continuing a state.
#include "hedgehog/models/decoder.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/decoder_layer.h"
#include "hedgehog/models/gpt2.h"
#include "hedgehog/models/json_fields.h"
#include "hedgehog/models/llama.h"
#include "hedgehog/models/recompute.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace hedgehog {
namespace {

void visit_norm(const std::string& name, Norm& norm, std::int64_t dim, bool bias, const WeightVisitor& visit) {
  visit(name + ".weight", norm.weight, {dim});
  if (bias) visit(name + ".bias", norm.bias, {dim});
}

// Calls visit with every weight of one block: the one list of names and shapes, for loading and for writing.
void visit_layer(const DecoderConfig& config, const std::string& prefix, DecoderLayer& layer, const WeightVisitor& visit) {
  visit_norm(prefix + "input_layernorm", layer.input_norm, config.hidden, config.layer_norm, visit);
  visit_norm(prefix + "post_attention_layernorm", layer.post_attention_norm, config.hidden, config.layer_norm, visit);
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
  if (config.activation == "silu") linear(kLinearSlots[4], config.intermediate, config.hidden, config.mlp_bias);
  linear(kLinearSlots[5], config.intermediate, config.hidden, config.mlp_bias);
  linear(kLinearSlots[6], config.hidden, config.intermediate, config.mlp_bias);
}

std::string layer_prefix(std::size_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

Attention make_attention(const DecoderConfig& config, AttentionConfig attention, std::size_t layer) {
  check(attention.softmax_heads.empty() || config.windows[layer] == 0,
        "layer {}: has a window of its own in this model; keep softmax in all of its heads", layer);
  if (attention.kind == AttentionKind::kSoftmax && attention.window == 0) attention.window = config.windows[layer];
  return Attention(attention, config.heads, config.kv_heads, config.head_dim, config.hidden);
}

LayerShape shape_of(const DecoderConfig& config) {
  return {config.heads, config.kv_heads, config.head_dim, config.norm_epsilon, config.activation};
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

// Positions of the rows in their documents, int64 [length] or [batch, length].
at::Tensor positions_of(const at::Tensor& tokens, const at::Tensor& segment_start) {
  const auto positions = at::arange(tokens.size(1), at::kLong);
  return segment_start.defined() ? positions - segment_start : positions;
}

std::optional<RotaryTable> table_for(const DecoderConfig& config, const at::Tensor& positions) {
  if (config.learned_positions) return std::nullopt;
  return rotary_table(config.rotary, config.head_dim, positions);
}

}  // namespace

DecoderConfig decoder_config(const nlohmann::json& config) {
  const auto type = config.find("model_type");
  DecoderConfig result = type != config.end() && *type == "gpt2" ? gpt2_config(config) : llama_config(config);
  result.initializer_deviation = JsonFields(config, "config.json").number_or("initializer_range", 0.02, 0, 100);
  return result;
}

std::shared_ptr<const TensorSource> decoder_tensors(const Checkpoint& checkpoint) {
  const auto type = checkpoint.config.find("model_type");
  if (type == checkpoint.config.end() || *type != "gpt2") return checkpoint.tensors;
  return gpt2_tensors(checkpoint.tensors, gpt2_config(checkpoint.config));
}

void Decoder::make_layers() {
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    layers_.push_back({{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, make_attention(config_, {}, static_cast<std::size_t>(i))});
  }
}

void Decoder::visit_weights(const WeightVisitor& visit) {
  visit("model.embed_tokens.weight", embedding_, {config_.vocabulary, config_.hidden});
  if (config_.learned_positions) {
    visit("model.embed_positions.weight", position_embedding_, {config_.max_positions, config_.hidden});
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) visit_layer(config_, layer_prefix(i), layers_[i], visit);
  visit_norm("model.norm", norm_, config_.hidden, config_.layer_norm, visit);
  if (!tied()) visit("lm_head.weight", output_, {config_.vocabulary, config_.hidden});
}

Decoder::Decoder(const Checkpoint& checkpoint, at::ScalarType dtype) : config_(decoder_config(checkpoint.config)) {
  const auto source = decoder_tensors(checkpoint);
  if (!checkpoint.config.contains("tie_word_embeddings") && !source->contains("lm_head.weight")) config_.tied_embeddings = true;
  make_layers();
  visit_weights(weight_loader(*source, {}, dtype));
}

Decoder::Decoder(const DecoderConfig& config, std::uint64_t seed) : config_(config) {
  if (config_.windows.empty()) config_.windows.assign(static_cast<std::size_t>(config_.layers), 0);
  make_layers();
  visit_weights(weight_maker(seed, config_.initializer_deviation, at::kFloat));
  if (config_.learned_positions) {
    // GPT-2's last matrices of a branch begin smaller (its report, section 2.3); Llama's do not.
    const double ending = 1 / std::sqrt(2.0 * static_cast<double>(config_.layers));
    for (DecoderLayer& layer : layers_) {
      layer.o.weight.mul_(ending);
      layer.down.weight.mul_(ending);
    }
  }
}

std::vector<std::pair<std::string, at::Tensor*>> Decoder::weights() {
  std::vector<std::pair<std::string, at::Tensor*>> result;
  visit_weights(weight_collector(result));
  return result;
}

at::Tensor Decoder::embed(const at::Tensor& tokens, const at::Tensor& positions) const {
  const at::ScalarType computed = compute_dtype.value_or(dtype());
  const auto embedded = at::embedding(embedding_, tokens);
  if (!config_.learned_positions) return embedded.to(computed);
  const auto last = positions.max().item<std::int64_t>();
  check(last < config_.max_positions,
        "the model has learned positions for {} tokens, and this text goes on to the {}th: take a shorter one",
        config_.max_positions, last + 1);
  return (embedded + at::embedding(position_embedding_, positions.to(at::kLong))).to(computed);
}

at::Tensor Decoder::forward(const at::Tensor& tokens, const at::Tensor& segment_start, const LayerVisitor& visit) const {
  check_tokens(tokens, segment_start, config_.vocabulary);
  const bool recomputing = gradient_checkpointing && at::GradMode::is_enabled();
  check(!visit || !recomputing, "layers that are recomputed in the backward pass cannot be visited");
  const auto positions = positions_of(tokens, segment_start);
  const auto table = table_for(config_, positions);
  const LayerShape shape = shape_of(config_);
  Residual residual{embed(tokens, positions), {}};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const DecoderLayer& layer = layers_[i];
    const auto run = [shape, table, segment_start, i, visit, control = control](const DecoderLayer& block, const Residual& in) {
      return layer_forward(block, shape, table, segment_start, in, [&](const AttentionInput& input) {
        if (visit) visit(static_cast<std::int64_t>(i), input);
        return block.attention.forward(input, control);
      });
    };
    if (!recomputing) {
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

at::Tensor Decoder::forward_visiting(const at::Tensor& tokens, const at::Tensor& segment_start, bool softmax_only,
                                     const LayerVisitor& visit) const {
  const at::NoGradGuard no_gradients;
  DecoderPass pass = begin_pass(tokens, segment_start);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    run_layer(pass, i, [&](const AttentionInput& input) {
      if (visit) visit(static_cast<std::int64_t>(i), input);
      if (softmax_only) return make_attention(config_, {}, i).forward(input);
      return layers_[i].attention.forward(input, control);
    });
  }
  return end_pass(pass);
}

void Decoder::run_layer(DecoderPass& pass, std::size_t layer, const Attend& attend) const {
  pass.residual = layer_forward(layers_[layer], shape_of(config_), pass.rotary, pass.segment_start, pass.residual, attend);
}

DecoderPass Decoder::begin_pass(const at::Tensor& tokens, const at::Tensor& segment_start) const {
  check_tokens(tokens, segment_start, config_.vocabulary);
  const at::NoGradGuard no_gradients;
  const auto positions = positions_of(tokens, segment_start);
  return {segment_start, table_for(config_, positions), {embed(tokens, positions), {}}};
}

void Decoder::run_layers(DecoderPass& pass, std::int64_t first, std::int64_t end) const {
  const at::NoGradGuard no_gradients;
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
    run_layer(pass, i, [&](const AttentionInput& input) { return layers_[i].attention.forward(input, control); });
  }
}

at::Tensor Decoder::end_pass(const DecoderPass& pass) const {
  const at::NoGradGuard no_gradients;
  return norm_residual(pass.residual, norm_, config_.norm_epsilon).second;
}

at::Tensor Decoder::continue_from(std::vector<AttentionState>& states, const at::Tensor& tokens) const {
  check_tokens(tokens, {}, config_.vocabulary);
  check(states.empty() || states.size() == layers_.size(), "a state should have {} layers, found {}", layers_.size(),
        states.size());
  const at::NoGradGuard no_gradients;
  states.resize(layers_.size());
  const std::int64_t start = states[0].position;
  const auto positions = at::arange(start, start + tokens.size(1), at::kLong);
  const auto table = table_for(config_, positions);
  Residual residual{embed(tokens, positions), {}};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    residual = layer_forward(layers_[i], shape_of(config_), table, {}, residual,
                             [&](const AttentionInput& input) { return layers_[i].attention.continue_from(states[i], input); });
  }
  return norm_residual(residual, norm_, config_.norm_epsilon).second;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  Linear output;
  output.weight = output_weight();
  return output.forward(hidden);
}

void Decoder::set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax) {
  const std::vector<AttentionConfig> configs = layer_attention(config, keep_softmax, config_.layers, config_.kv_heads);
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].attention = make_attention(config_, configs[i], i);
}

Decoder Decoder::teacher() const {
  Decoder copy = *this;
  copy.set_attention({});
  copy.gradient_checkpointing = false;
  copy.control = AttentionControl::kNone;
  for (DecoderLayer& layer : copy.layers_) {
    for (const LinearSlot& slot : kLinearSlots) (layer.*slot.member).drop_lora();
  }
  return copy;
}

}  // namespace hedgehog
