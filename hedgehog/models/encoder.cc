#include "hedgehog/models/encoder.h"

#include "hedgehog/base/error.h"
#include "hedgehog/models/activation.h"

#include <ATen/ATen.h>

namespace hedgehog {
namespace {

// What an encoder makes of any attention: the bidirectional form.
Attention encoder_attention(const EncoderConfig& config, AttentionConfig attention) {
  attention.causal = false;
  return Attention(attention, config.heads, config.heads, config.hidden / config.heads, config.hidden);
}

std::int64_t label_count(const JsonFields& fields) {
  constexpr std::int64_t kMost = 1 << 20;
  if (fields.has("num_labels")) return fields.integer("num_labels", 1, kMost);
  if (!fields.has("id2label")) return 2;
  const auto count = static_cast<std::int64_t>(fields.object("id2label").value().size());
  check(count >= 1 && count <= kMost, "{}: \"id2label\" should have from 1 to {} labels, found {}", fields.where(), kMost,
        count);
  return count;
}

}  // namespace

EncoderConfig encoder_config(const JsonFields& fields) {
  check(!fields.has("quantization_config"),
        "{}: \"quantization_config\": the weights are quantized; use a checkpoint that is not", fields.where());
  EncoderConfig config;
  config.hidden = fields.integer("hidden_size", 1, 1 << 17);
  config.intermediate = fields.integer("intermediate_size", 1, 1 << 20);
  config.layers = fields.integer("num_hidden_layers", 1, 4096);
  config.heads = fields.integer("num_attention_heads", 1, 4096);
  config.norm_epsilon = fields.number_or("layer_norm_eps", 1e-12, 0, 1);
  config.activation = fields.text_or("hidden_act", "gelu");
  const auto& name = config.activation;
  check(name == "gelu" || name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "relu",
        "{}: \"hidden_act\" should be gelu, gelu_new, gelu_pytorch_tanh or relu, found {}", fields.where(), brief(name));
  config.labels = label_count(fields);
  config.initializer_deviation = fields.number_or("initializer_range", 0.02, 0, 100);
  return config;
}

at::Tensor LayerNorm::forward(const at::Tensor& x, double epsilon) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, epsilon);
}

Encoder::Encoder(const EncoderConfig& config, NormPlace place) : config_(config), place_(place) {
  check(config.heads > 0 && config.hidden % config.heads == 0,
        "an encoder's hidden size (hidden_size, {}) should be a multiple of its heads (num_attention_heads, {})", config.hidden,
        config.heads);
  for (std::int64_t i = 0; i < config.layers; ++i)
    layers.push_back({{}, {}, {}, {}, {}, {}, {}, {}, encoder_attention(config, {})});
}

at::Tensor Encoder::forward(at::Tensor hidden, const EncoderPass& pass, Dropout& dropout) const {
  const std::int64_t batch = hidden.size(0), length = hidden.size(1), dim = config_.hidden / config_.heads;
  const auto by_head = [&](const at::Tensor& x) { return x.view({batch, length, config_.heads, dim}).transpose(1, 2); };
  const auto norm = [&](const LayerNorm& which, const at::Tensor& x) { return which.forward(x, config_.norm_epsilon); };
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const EncoderLayer& layer = layers[i];
    const auto attend = [&](const at::Tensor& x) {
      const std::vector<at::Tensor> qkv = project(x, {&layer.q, &layer.k, &layer.v});
      const AttentionInput input{by_head(qkv[0]), by_head(qkv[1]), by_head(qkv[2]), x, pass.segment_start, pass.key_count};
      if (pass.visit) pass.visit(static_cast<std::int64_t>(i), input);
      const at::Tensor y = pass.softmax_only ? encoder_attention(config_, {}).forward(input, pass.control)
                                             : layer.attention.forward(input, pass.control);
      return dropout(layer.o.forward(y.transpose(1, 2).reshape({batch, length, config_.hidden})), config_.dropout);
    };
    const auto feed_forward = [&](const at::Tensor& x) {
      return dropout(layer.down.forward(activate(layer.up.forward(x), config_.activation)), config_.dropout);
    };
    if (place_ == NormPlace::kInFront) {
      hidden = hidden + attend(norm(layer.attention_norm, hidden));
      hidden = hidden + feed_forward(norm(layer.output_norm, hidden));
    } else {
      hidden = norm(layer.attention_norm, hidden + attend(hidden));
      hidden = norm(layer.output_norm, hidden + feed_forward(hidden));
    }
  }
  return hidden;
}

void Encoder::set_attention(const AttentionConfig& config, const std::vector<KeptSoftmax>& keep_softmax) {
  const std::vector<AttentionConfig> configs = layer_attention(config, keep_softmax, config_.layers, config_.heads);
  for (std::size_t i = 0; i < layers.size(); ++i) layers[i].attention = encoder_attention(config_, configs[i]);
}

void Encoder::become_teacher() {
  set_attention({}, {});
  for (EncoderLayer& layer : layers) {
    for (const EncoderLinear& slot : kEncoderLinears) (layer.*slot.member).drop_lora();
  }
}

void Encoder::visit_weights(const std::string& prefix, const EncoderNames& names, const WeightVisitor& visit) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EncoderLayer& layer = layers[i];
    const std::string block = fmt::format("{}{}.", prefix, i);
    for (std::size_t n = 0; n < kEncoderLinears.size(); ++n) {
      Linear& linear = layer.*kEncoderLinears[n].member;
      const std::int64_t out = &linear == &layer.up ? config_.intermediate : config_.hidden;
      const std::int64_t in = &linear == &layer.down ? config_.intermediate : config_.hidden;
      const bool bias = config_.qkv_bias || n > 2;
      visit(block + names.linears[n] + ".weight", linear.weight, {out, in});
      if (bias) visit(block + names.linears[n] + ".bias", linear.bias, {out});
    }
    visit_norm(block + names.attention_norm, layer.attention_norm, config_.hidden, visit);
    visit_norm(block + names.output_norm, layer.output_norm, config_.hidden, visit);
  }
}

void visit_linear(const std::string& name, Linear& linear, std::int64_t out, std::int64_t in, const WeightVisitor& visit) {
  visit(name + ".weight", linear.weight, {out, in});
  visit(name + ".bias", linear.bias, {out});
}

void visit_norm(const std::string& name, LayerNorm& norm, std::int64_t dim, const WeightVisitor& visit) {
  visit(name + ".weight", norm.weight, {dim});
  visit(name + ".bias", norm.bias, {dim});
}

}  // namespace hedgehog
