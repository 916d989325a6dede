#include "hedgehog/attention/attention.h"

#include "hedgehog/attention/direct.h"
#include "hedgehog/attention/feature_map.h"
#include "hedgehog/attention/mixed_heads.h"
#include "hedgehog/attention/running_maximum.h"
#include "hedgehog/attention/scaled_dot_product.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>

namespace hedgehog {
namespace {

// γ = σ(4) ≈ 0.98 at the start: a memory of some fifty tokens, from which training finds both longer and shorter ones. All but
// open gates (σ(7)) learned nothing in a few hundred steps, their slope being too small.
constexpr double kGateBias = 4;
// The bias moves this much faster than it is stored, for a learning rate that suits the maps.
constexpr double kGateRate = 10;

void check_key_count(const AttentionInput& input) {
  const auto& count = input.key_count;
  check(!count.defined() || (count.dim() == 1 && count.size(0) == input.k.size(0) && !count.is_floating_point()),
        "attention: key_count should be int32 [{}], one number a sequence", input.k.size(0));
}

// Which rows of a padded batch are no padding, bool [batch, length].
at::Tensor rows_that_count(const AttentionInput& input) {
  return at::arange(input.k.size(2), at::kInt).lt(input.key_count.unsqueeze(-1));
}

void check_config(const AttentionConfig& config) {
  check(config.window >= 0 && config.sinks >= 0 && config.feature_dim >= 0,
        "attention: window {}, sinks {} and feature dimension {} must not be negative", config.window, config.sinks,
        config.feature_dim);
  check(config.causal || (config.window == 0 && config.sinks == 0),
        "attention: the bidirectional form has no window and no sinks");
  if (config.kind == AttentionKind::kSoftmax) return;
  feature_map_named(config.feature_map);
  check(config.kind == AttentionKind::kHybrid || (config.window == 0 && config.sinks == 0),
        "attention: linear attention has no window and no sinks; \"hybrid\" has");
  check(config.kind == AttentionKind::kLinear || config.window > 0 || config.sinks > 0,
        "attention: hybrid attention needs a window or sinks");
  check(config.causal || (config.kind == AttentionKind::kLinear && !config.gate),
        "attention: the bidirectional form is linear and has no gate");
}

}  // namespace

AttentionKind attention_kind(const std::string& name) {
  if (name == "softmax") return AttentionKind::kSoftmax;
  if (name == "linear") return AttentionKind::kLinear;
  if (name == "hybrid") return AttentionKind::kHybrid;
  fail("attention \"{}\" is not known; there are: softmax, linear, hybrid", name);
}

std::string to_string(AttentionKind kind) {
  return kind == AttentionKind::kSoftmax ? "softmax" : kind == AttentionKind::kLinear ? "linear" : "hybrid";
}

Attention::Attention(const AttentionConfig& config, std::int64_t heads, std::int64_t kv_heads, std::int64_t dim,
                     std::int64_t hidden)
    : config_(config), heads_(heads), kv_heads_(kv_heads), dim_(dim), hidden_(hidden) {
  check_config(config);
  choose_heads();
  if (config.kind == AttentionKind::kSoftmax) return;
  const std::int64_t rows = config.feature_dim > 0 ? config.feature_dim : dim;
  map_ = feature_map_named(config.feature_map);
  q_map_ = initial_weights(map_, heads, rows, dim);
  k_map_ = initial_weights(map_, kv_heads, rows, dim);
  if (hybrid()) {
    mix_weight_ = at::zeros({heads, dim});
    mix_bias_ = at::zeros({heads});
  }
  if (config.gate) {
    gate_weight_ = at::zeros({kv_heads, hidden});
    gate_bias_ = at::full({kv_heads}, kGateBias / kGateRate);
  }
}

std::vector<std::pair<std::string, at::Tensor*>> Attention::parameters() {
  std::vector<std::pair<std::string, at::Tensor*>> all;
  const auto add = [&](const char* name, at::Tensor& x) {
    if (x.defined()) all.emplace_back(name, &x);
  };
  if (learns_map()) {
    add("q_map.weight", q_map_.weight);
    add("q_map.bias", q_map_.bias);
    add("k_map.weight", k_map_.weight);
    add("k_map.bias", k_map_.bias);
  }
  add("mix.weight", mix_weight_);
  add("mix.bias", mix_bias_);
  add("gate.weight", gate_weight_);
  add("gate.bias", gate_bias_);
  return all;
}

at::Tensor Attention::log_gate(const AttentionInput& input) const {
  if (!config_.gate) return {};
  // The division keeps one optimizer step on the weights a small step of the gate, whatever the width.
  const auto weight = gate_weight_ / std::sqrt(static_cast<double>(gate_weight_.size(1)));
  const auto logits = at::matmul(input.x.to(at::kFloat), weight.t()) + kGateRate * gate_bias_;  // [batch, length, kv_heads]
  return at::log_sigmoid(logits).transpose(1, 2);
}

Features Attention::query_features(const at::Tensor& q, const at::Tensor& positions) const {
  return features_of(map_, q, q_map_.weight, q_map_.bias, positions);
}

Features Attention::key_features(const at::Tensor& k, const at::Tensor& positions) const {
  return features_of(map_, k, k_map_.weight, k_map_.bias, positions);
}

at::Tensor Attention::positions(const AttentionInput& input, std::int64_t first) const {
  if (!map_.map->positions) return {};
  const auto rows =
      at::arange(first, first + input.k.size(2), input.k.options().dtype(at::kLong).requires_grad(false)).unsqueeze(0);
  return input.segment_start.defined() ? rows - input.segment_start : rows;
}

at::Tensor Attention::mixing(const at::Tensor& q) const {
  const auto weight = mix_weight_.unsqueeze(-1) / std::sqrt(static_cast<double>(dim_));
  return at::matmul(q.to(at::kFloat), weight).squeeze(-1) + mix_bias_.unsqueeze(-1);
}

OperatorInput Attention::featureless_input(const AttentionInput& input) const {
  check(!config_.causal || !input.key_count.defined(), "attention: only the bidirectional form takes padding (key_count)");
  check_key_count(input);
  OperatorInput call;
  call.q = input.q;
  call.k = input.k;
  call.v = input.v;
  call.segment_start = input.segment_start;
  call.key_count = input.key_count;
  call.causal = config_.causal;
  call.window = config_.window;
  if (config_.kind == AttentionKind::kSoftmax) return call;
  call.sinks = config_.sinks;
  call.log_gate = log_gate(input);
  if (hybrid()) call.row_log_scale = mixing(input.q);
  return call;
}

OperatorInput Attention::operator_input(const AttentionInput& input) const {
  auto call = featureless_input(input);
  if (config_.kind == AttentionKind::kSoftmax) return call;
  const auto places = positions(input, 0);
  const auto queries = query_features(input.q, places), keys = key_features(input.k, places);
  call.phi_q = queries.phi;
  call.phi_k = keys.phi;
  if (!keys.log_scale.defined()) return call;
  if (!config_.causal) {
    const auto maximum = document_maximum(keys.log_scale, input.segment_start, input.key_count);
    call.phi_k = keys.phi * at::exp(keys.log_scale - maximum).unsqueeze(-1);
    return call;
  }
  const auto running = running_maximum(keys.log_scale, input.segment_start, {});
  call.phi_k = keys.phi * at::exp(keys.log_scale - running.maximum).unsqueeze(-1);
  call.log_gate = call.log_gate.defined() ? call.log_gate + running.log_gate : running.log_gate;
  if (hybrid()) call.row_log_scale = call.row_log_scale + queries.log_scale + to_query_heads(running.maximum, heads_);
  return call;
}

OperatorMap Attention::operator_map() const {
  return {*map_.map->activation, q_map_.weight, q_map_.bias, k_map_.weight, k_map_.bias, {}};
}

OperatorInput Attention::mapped_input(const AttentionInput& input) const {
  if (config_.kind == AttentionKind::kSoftmax || !map_.map->activation) return operator_input(input);
  auto call = featureless_input(input);
  call.map = operator_map();
  if (call.map.activation != kernels::Activation::kExp) return call;
  const auto log_scales = key_log_scales(input.k, k_map_.weight, k_map_.bias);
  if (!config_.causal) {
    call.map.k_reference = document_maximum(log_scales, input.segment_start, input.key_count);
    return call;
  }
  const auto running = running_maximum(log_scales, input.segment_start, {});
  call.map.k_reference = running.maximum;
  call.log_gate = call.log_gate.defined() ? call.log_gate + running.log_gate : running.log_gate;
  if (hybrid()) call.row_log_scale = call.row_log_scale + to_query_heads(running.maximum, heads_);
  return call;
}

at::Tensor Attention::forward(const AttentionInput& input, AttentionControl control) const {
  const bool softmax = config_.kind == AttentionKind::kSoftmax;
  if (control == AttentionControl::kNoAttention ||
      (control == AttentionControl::kLinearRemoved && config_.kind == AttentionKind::kLinear)) {
    if (!mixed() || control == AttentionControl::kNoAttention) return at::zeros_like(input.q);
  }
  if (mixed()) {
    return put_together(linear_part().forward(input_of_heads(input, linear_q_, linear_kv_), control),
                        softmax_part().forward(input_of_heads(input, softmax_q_, softmax_kv_)));
  }
  if (softmax && !config_.causal) return bidirectional_softmax(input);
  if (short_for_features(input)) return direct_attention(featureless_input(input), map_.map->of_score);
  auto call = mapped_input(input);
  if (!softmax && control == AttentionControl::kLinearRemoved) {
    call.phi_q = call.phi_k = call.row_log_scale = call.log_gate = at::Tensor();
    call.map = {};
  }
  if (!softmax && control == AttentionControl::kWindowRemoved) {
    call.window = call.sinks = 0;
    call.row_log_scale = at::Tensor();
  }
  return attention_operator(call);
}

bool Attention::short_for_features(const AttentionInput& input) const {
  return config_.kind == AttentionKind::kLinear && !config_.gate && map_.map->of_score != nullptr &&
         input.k.size(2) < map_.map->features(dim_);
}

at::Tensor Attention::bidirectional_softmax(const AttentionInput& input) const {
  check_key_count(input);
  std::optional<at::Tensor> seen;  // [batch, 1, 1 or length, length]
  if (input.key_count.defined()) seen = rows_that_count(input).unsqueeze(1).unsqueeze(1);
  if (input.segment_start.defined()) {
    const auto own = input.segment_start.unsqueeze(-1).eq(input.segment_start.unsqueeze(-2)).unsqueeze(1);
    seen = seen.has_value() ? own.logical_and(*seen) : own;
  }
  return scaled_dot_product(input.q, input.k, input.v, seen, /*causal=*/false);
}

Attention::DistillationLoss Attention::distill(const AttentionInput& input, double weights_factor, double output_factor,
                                               double gradient_scale, std::int64_t teacher_window, const QueryRows& chosen) {
  const bool learns = gradient_scale != 0;
  const at::AutoGradMode mode(learns);
  if (mixed()) {
    return linear_part().distill(input_of_heads(input, linear_q_, linear_kv_), weights_factor, output_factor, gradient_scale,
                                 teacher_window, chosen);
  }
  check(config_.causal || teacher_window == 0, "distillation: the bidirectional teacher has no window");
  const auto target = [&] {
    const at::NoGradGuard guard;
    const Attention teacher({.window = teacher_window, .causal = config_.causal}, heads_, kv_heads_, dim_, 0);
    return teacher.forward(input).to(at::kFloat);
  };
  DistillationLoss loss;
  std::vector<at::Tensor> roots, gradients;
  at::Tensor softmax_output;  // comes with the weights' loss
  const auto add_root = [&](const at::Tensor& root, const at::Tensor& gradient) {
    if (!root.defined() || !gradient.defined() || !root.requires_grad()) return;
    roots.push_back(root);
    gradients.push_back(gradient);
  };
  const auto of_chosen = [&chosen](const at::Tensor& x, std::int64_t dim) {
    return x.slice(dim, chosen.first, {}, chosen.step);
  };
  // Sums over rows leave those of padding out: counted [batch, 1, rows] is 1 or 0.
  at::Tensor counted;
  double rows = static_cast<double>(input.q.size(0) * input.q.size(1) * chosen.count(input.q.size(2)));
  if (input.key_count.defined()) {
    counted = of_chosen(rows_that_count(input), 1).unsqueeze(1).to(at::kFloat);
    rows = std::max(1.0, static_cast<double>(heads_) * counted.sum(at::kDouble).item<double>());
  }
  const auto mean = [&](const at::Tensor& of_rows) {
    return (counted.defined() ? of_rows * counted : of_rows).sum(at::kDouble).item<double>() / rows;
  };
  if (weights_factor != 0) {
    const auto call = mapped_input(input);
    const at::NoGradGuard guard;
    const auto output =
        distillation_operator(call, chosen, teacher_window, gradient_scale * weights_factor / rows, output_factor != 0);
    loss.cross_entropy = mean(output.cross_entropy);
    loss.kl = loss.cross_entropy - mean(output.entropy);
    softmax_output = output.teacher;
    add_root(call.map.q_weight, output.map.q_weight);
    add_root(call.map.q_bias, output.map.q_bias);
    add_root(call.map.k_weight, output.map.k_weight);
    add_root(call.map.k_bias, output.map.k_bias);
    add_root(call.phi_q, output.phi_q);
    add_root(call.phi_k, output.phi_k);
    add_root(call.row_log_scale, output.row_log_scale);
    add_root(call.log_gate, output.log_gate);
  }
  if (output_factor != 0) {
    auto y = of_chosen(attention_operator(mapped_input(input)), 2).to(at::kFloat);
    auto wanted = softmax_output.defined() ? softmax_output.to(at::kFloat) : of_chosen(target(), 2);
    if (counted.defined()) {
      y = y * counted.unsqueeze(-1);
      wanted = wanted * counted.unsqueeze(-1);
    }
    const auto error = (y - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12);
    loss.output_error = error.item<double>();
    if (learns) add_root(error, at::full({}, gradient_scale * output_factor));
  }
  if (!roots.empty()) torch::autograd::backward(roots, gradients);
  return loss;
}

}  // namespace hedgehog
