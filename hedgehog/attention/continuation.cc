// The chunked and recurrent forms of attention/attention.h: rows that continue a state of fixed size.
#include "hedgehog/attention/attention.h"
#include "hedgehog/attention/mixed_heads.h"
#include "hedgehog/attention/running_maximum.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace hedgehog {
namespace {

// Fewer rows of the exp map than this are not worth mapping the window's keys again.
constexpr std::int64_t kMappedRows = 16;

at::Tensor joined(const at::Tensor& before, const at::Tensor& rows) {
  return before.defined() && before.size(2) > 0 ? at::cat({before, rows}, 2) : rows;
}

// Rows [begin, end) in memory of their own: a view would keep the whole call's tensor alive.
at::Tensor kept(const at::Tensor& x, std::int64_t begin, std::int64_t end) {
  return x.defined() ? x.slice(2, begin, end).clone(at::MemoryFormat::Contiguous) : x;
}

// One row against all keys: two small products, where the tiled operator would transpose the keys anew for every token.
at::Tensor single_row_softmax(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t batch = q.size(0), heads = q.size(1), dim = q.size(3), kv_heads = k.size(1);
  const auto grouped = q.reshape({batch, kv_heads, heads / kv_heads, dim});
  const auto scores = at::matmul(grouped, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(dim));
  return at::matmul(at::softmax(scores, -1, at::kFloat).to(v.scalar_type()), v).reshape({batch, heads, 1, dim});
}

}  // namespace

std::vector<at::Tensor*> AttentionState::tensors() {
  std::vector<at::Tensor*> defined;
  for (auto* x : {&linear.s, &linear.scale, &linear.z, &log_scale, &window_k, &window_v, &window_phi, &window_log_scale,
                  &window_log_gate, &sink_k, &sink_v, &softmax_k, &softmax_v}) {
    if (x->defined()) defined.push_back(x);
  }
  return defined;
}

std::int64_t AttentionState::bytes() const {
  AttentionState copy = *this;
  std::int64_t total = 0;
  for (const auto* x : copy.tensors()) total += static_cast<std::int64_t>(x->nbytes());
  return total;
}

at::Tensor Attention::continue_from(AttentionState& state, const AttentionInput& input) const {
  const at::NoGradGuard guard;
  check(config_.causal && !input.key_count.defined(), "attention: the bidirectional form cannot be continued");
  if (mixed()) return continue_mixed(state, input);
  return config_.kind == AttentionKind::kSoftmax ? continue_softmax(state, input) : continue_linear(state, input);
}

at::Tensor Attention::continue_mixed(AttentionState& state, const AttentionInput& input) const {
  AttentionState exact;
  exact.position = state.position;
  exact.window_k = state.softmax_k;
  exact.window_v = state.softmax_v;
  const at::Tensor softmax = softmax_part().continue_softmax(exact, input_of_heads(input, softmax_q_, softmax_kv_));
  state.softmax_k = exact.window_k;
  state.softmax_v = exact.window_v;
  return put_together(linear_part().continue_linear(state, input_of_heads(input, linear_q_, linear_kv_)), softmax);
}

at::Tensor Attention::continue_softmax(AttentionState& state, const AttentionInput& input) const {
  const std::int64_t rows = input.q.size(2);
  at::Tensor keys, values;
  if (config_.window > 0) {
    keys = joined(state.window_k, input.k);
    values = joined(state.window_v, input.v);
    const std::int64_t total = keys.size(2), begin = std::max<std::int64_t>(0, total - (config_.window - 1));
    state.window_k = kept(keys, begin, total);
    state.window_v = kept(values, begin, total);
  } else {
    const std::int64_t total = state.position + rows;
    if (!state.window_k.defined() || state.window_k.size(2) < total) {
      auto sizes = input.k.sizes().vec();
      sizes[2] = std::max<std::int64_t>(64, total + total / 2);
      const auto grow = [&](at::Tensor& x, const at::Tensor& like) {
        auto larger = at::empty(sizes, like.options());
        if (state.position > 0) larger.narrow(2, 0, state.position).copy_(x.narrow(2, 0, state.position));
        x = larger;
      };
      grow(state.window_k, input.k);
      grow(state.window_v, input.v);
    }
    state.window_k.narrow(2, state.position, rows).copy_(input.k);
    state.window_v.narrow(2, state.position, rows).copy_(input.v);
    keys = state.window_k.narrow(2, 0, total);
    values = state.window_v.narrow(2, 0, total);
  }
  state.position += rows;
  // The ring holds window − 1 keys, so with its own a single row sees all that is there.
  if (rows == 1) return single_row_softmax(input.q, keys, values);
  OperatorInput call;
  call.q = input.q;
  call.k = keys;
  call.v = values;
  call.window = config_.window;
  OperatorContinuation more;
  more.query_begin = keys.size(2) - rows;
  return continue_operator(call, more).y;
}

at::Tensor Attention::continue_linear(AttentionState& state, const AttentionInput& input) const {
  const std::int64_t rows = input.q.size(2), held = state.window_k.defined() ? state.window_k.size(2) : 0, total = held + rows;
  // The kernel maps what it knows, but for the exp map of a few rows: its window's features are kept with their own log scales.
  const auto activation = map_.map->activation;
  const bool exp = activation == kernels::Activation::kExp;
  const bool mapped = activation && (!exp || rows >= std::max(kMappedRows, config_.window));
  const auto places = positions(input, state.position);
  Features keys, queries;
  if (!mapped) {
    keys = key_features(input.k, places);
    queries = query_features(input.q, places);
  } else if (exp) {
    keys.log_scale = key_log_scales(input.k, k_map_.weight, k_map_.bias);
  }
  const auto gate = log_gate(input);
  const auto own_phi = mapped ? at::Tensor() : joined(state.window_phi, keys.phi);
  const auto own_scale = keys.log_scale.defined() ? joined(state.window_log_scale, keys.log_scale) : at::Tensor();
  const auto own_gate = gate.defined() ? joined(state.window_log_gate, gate) : at::Tensor();

  OperatorInput call;
  call.q = input.q;
  call.k = joined(state.window_k, input.k);
  call.v = joined(state.window_v, input.v);
  call.window = config_.window;
  call.sinks = std::max<std::int64_t>(0, config_.sinks - state.position);
  call.phi_q = queries.phi;
  call.phi_k = own_phi;
  if (mapped) call.map = operator_map();
  call.log_gate = own_gate;
  if (hybrid()) call.row_log_scale = mixing(input.q);
  RunningMaximum running;
  if (own_scale.defined()) {
    running = running_maximum(own_scale, {}, state.log_scale);
    if (mapped) {
      call.map.k_reference = running.maximum;
    } else {
      call.phi_k = own_phi * at::exp(own_scale - running.maximum).unsqueeze(-1);
    }
    call.log_gate = own_gate.defined() ? own_gate + running.log_gate : running.log_gate;
    if (hybrid()) {
      call.row_log_scale = call.row_log_scale + to_query_heads(running.maximum.slice(2, held, total), heads_);
      if (!mapped) call.row_log_scale = call.row_log_scale + queries.log_scale;
    }
  }

  OperatorContinuation more;
  more.state = state.linear;
  more.state_dtype = state.dtype;
  more.rounding_seed = state.position;
  more.query_begin = held;
  // The window keeps its last window − 1 keys; what is older, and no sink, goes into the state.
  const std::int64_t leaving = config_.window > 0 ? std::max<std::int64_t>(0, total - (config_.window - 1)) : total;
  more.absorb_end = std::max(leaving, std::min(call.sinks, total));
  if (state.sink_k.defined()) {
    more.prefix_k = state.sink_k;
    more.prefix_v = state.sink_v;
  }
  const auto output = continue_operator(call, more);

  if (call.sinks > 0) {
    const std::int64_t new_sinks = std::min(call.sinks, rows);
    state.sink_k = joined(state.sink_k, input.k.slice(2, 0, new_sinks)).clone(at::MemoryFormat::Contiguous);
    state.sink_v = joined(state.sink_v, input.v.slice(2, 0, new_sinks)).clone(at::MemoryFormat::Contiguous);
  }
  if (more.absorb_end > call.sinks || state.linear.s.defined()) {
    state.linear = output.state;
    if (own_scale.defined() && more.absorb_end > 0) state.log_scale = running.maximum.select(2, more.absorb_end - 1).clone();
  }
  if (config_.window > 0) {
    state.window_k = kept(call.k, more.absorb_end, total);
    state.window_v = kept(call.v, more.absorb_end, total);
    state.window_phi = kept(own_phi, more.absorb_end, total);
    if (exp && mapped) {
      state.window_phi = key_features(input.k.slice(2, more.absorb_end - held, rows), {}).phi;
    }
    state.window_log_scale = kept(own_scale, more.absorb_end, total);
    state.window_log_gate = kept(own_gate, more.absorb_end, total);
  }
  state.position += rows;
  return output.y;
}

}  // namespace hedgehog
