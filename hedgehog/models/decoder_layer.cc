// The decoder block. Heads are split by views; the rotary pass writes q and k into [batch, heads, length, dim] on its way.
#include "hedgehog/models/decoder_layer.h"

#include "hedgehog/models/activation.h"
#include "hedgehog/models/fused.h"

#include <ATen/ATen.h>

namespace hedgehog {

std::pair<at::Tensor, at::Tensor> norm_residual(const Residual& residual, const Norm& norm, double epsilon) {
  if (norm.bias.defined()) {
    const auto sum = residual.delta.defined() ? residual.hidden + residual.delta : residual.hidden;
    return {sum, at::layer_norm(sum, norm.weight.sizes(), norm.weight, norm.bias, epsilon)};
  }
  if (!residual.delta.defined()) return {residual.hidden, rms_norm(residual.hidden, norm.weight, epsilon)};
  return add_rms_norm(residual.hidden, residual.delta, norm.weight, epsilon);
}

Residual layer_forward(const DecoderLayer& layer, const LayerShape& shape, const std::optional<RotaryTable>& table,
                       const at::Tensor& segment_start, const Residual& residual, const Attend& attend) {
  const auto [hidden, x] = norm_residual(residual, layer.input_norm, shape.norm_epsilon);
  const std::int64_t batch = x.size(0), length = x.size(1);
  const auto split = [&](const at::Tensor& y, std::int64_t heads) { return y.view({batch, length, heads, shape.head_dim}); };
  const std::vector<at::Tensor> qkv = project(x, {&layer.q, &layer.k, &layer.v});
  at::Tensor q = split(qkv[0], shape.heads), k = split(qkv[1], shape.kv_heads);
  if (layer.q_norm.defined()) {
    q = rms_norm(q, layer.q_norm, shape.norm_epsilon);
    k = rms_norm(k, layer.k_norm, shape.norm_epsilon);
  }
  AttentionInput input;
  input.q = table ? apply_rotary(q.transpose(1, 2), *table) : q.transpose(1, 2);
  input.k = table ? apply_rotary(k.transpose(1, 2), *table) : k.transpose(1, 2);
  input.v = split(qkv[2], shape.kv_heads).transpose(1, 2);
  input.x = x;
  input.segment_start = segment_start;
  const at::Tensor attended = attend(input).transpose(1, 2).reshape({batch, length, shape.heads * shape.head_dim});

  const auto [middle, m] = norm_residual({hidden, layer.o.forward(attended)}, layer.post_attention_norm, shape.norm_epsilon);
  if (shape.activation != "silu") return {middle, layer.down.forward(activate(layer.up.forward(m), shape.activation))};
  const std::vector<at::Tensor> gate_up = project(m, {&layer.gate, &layer.up});
  return {middle, layer.down.forward(swiglu(gate_up[0], gate_up[1]))};
}

}  // namespace hedgehog
