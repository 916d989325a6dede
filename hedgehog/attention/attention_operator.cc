#include "hedgehog/attention/attention_operator.h"

#include "hedgehog/attention/composed.h"
#include "hedgehog/attention/parallel.h"
#include "hedgehog/base/error.h"
#include "hedgehog/kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <string>

namespace hedgehog {
namespace {

at::Tensor as_rows(const at::Tensor& x, at::ScalarType dtype = at::kFloat) {
  if (!x.defined()) return x;
  const auto converted = x.to(dtype);
  return converted.stride(-1) == 1 || converted.size(-1) == 1 ? converted : converted.contiguous();
}

kernels::Rows input_rows(const at::Tensor& x) {
  if (!x.defined()) return {};
  const auto element = x.scalar_type() == at::kBFloat16 ? kernels::Element::kBfloat16 : kernels::Element::kFloat32;
  return {x.const_data_ptr(), element, x.stride(0), x.stride(1), x.stride(2)};
}

template <typename T>
kernels::Strided<T> strided(const at::Tensor& x) {
  if (!x.defined()) return {};
  return {const_cast<T*>(x.const_data_ptr<float>()), x.stride(0), x.stride(1), x.stride(2)};
}

kernels::MutableRows output_rows(const at::Tensor& x) {
  if (!x.defined()) return {};
  const auto rows = input_rows(x);
  return {const_cast<void*>(rows.data), rows.element, rows.batch, rows.head, rows.row};
}

kernels::StateElement state_element(at::ScalarType dtype) {
  if (dtype == at::kFloat) return kernels::StateElement::kFloat32;
  if (dtype == at::kBFloat16) return kernels::StateElement::kBfloat16;
  check(dtype == at::kChar, "attention: a state is fp32, bf16 or int8, found {}", at::toString(dtype));
  return kernels::StateElement::kInt8;
}

kernels::LinearState linear_state(const OperatorState& state) {
  if (!state.s.defined()) return {};
  check(state.s.is_contiguous() && state.z.is_contiguous() && (!state.scale.defined() || state.scale.is_contiguous()),
        "attention: the state is not contiguous");
  check(state.scale.defined() == (state.s.scalar_type() == at::kChar), "attention: a state has scales where it is int8");
  return {state.s.mutable_data_ptr(), state_element(state.s.scalar_type()),
          state.scale.defined() ? state.scale.mutable_data_ptr<float>() : nullptr, state.z.mutable_data_ptr<float>()};
}

OperatorState new_state(const kernels::AttentionShape& s, at::ScalarType dtype) {
  OperatorState state;
  state.s = at::empty({s.batch, s.kv_heads, s.features, s.dim}, dtype);
  state.z = at::empty({s.batch, s.kv_heads, s.features}, at::kFloat);
  if (dtype == at::kChar) state.scale = at::empty_like(state.z);
  return state;
}

// [B, H, N, W] whose memory is [B, N, H, W]: what the next projection reads without a copy.
at::Tensor rows_first(const at::Tensor& like, std::int64_t heads, std::int64_t rows, std::int64_t width, at::ScalarType dtype) {
  return at::empty({like.size(0), rows, heads, width}, like.options().dtype(dtype)).transpose(1, 2);
}

void check_shape(const at::Tensor& x, const char* name, at::IntArrayRef expected) {
  if (!x.defined()) return;
  check(x.sizes() == expected, "attention: {} has shape {}, expected {}", name, fmt::join(x.sizes(), "x"),
        fmt::join(expected, "x"));
}

// The kernels read bf16 themselves where all of q, k, v are that.
at::ScalarType kernel_dtype(const OperatorInput& i) {
  const bool bf16 =
      i.q.scalar_type() == at::kBFloat16 && i.k.scalar_type() == at::kBFloat16 && i.v.scalar_type() == at::kBFloat16;
  return bf16 ? at::kBFloat16 : at::kFloat;
}

// The kernel's view of a call, and the tensors that it points into.
struct Call {
  OperatorInput t;
  OperatorContinuation more;
  kernels::AttentionArguments arguments;

  // `dtype`: what q, k, v are handed over as. `query_rows`: those of q, where they are not all from query_begin on.
  Call(const OperatorInput& input, at::ScalarType dtype, const OperatorContinuation& continuation = {},
       std::optional<std::int64_t> query_rows = {})
      : t(input), more(continuation) {
    t.q = as_rows(t.q, dtype);
    t.k = as_rows(t.k, dtype);
    t.v = as_rows(t.v, dtype);
    t.phi_q = as_rows(t.phi_q);
    t.phi_k = as_rows(t.phi_k);
    for (auto* x : {&t.row_log_scale, &t.log_gate}) {
      if (x->defined()) *x = x->to(at::kFloat).contiguous();
    }
    for (auto* x : {&t.segment_start, &t.key_count}) {
      if (x->defined()) *x = x->to(at::kInt).contiguous();
    }
    more.prefix_k = as_rows(more.prefix_k, dtype);
    more.prefix_v = as_rows(more.prefix_v, dtype);
    for (auto* x : {&t.map.q_weight, &t.map.q_bias, &t.map.k_weight, &t.map.k_bias, &t.map.k_reference}) {
      if (x->defined()) *x = x->to(at::kFloat).contiguous();
    }
    describe(query_rows);
  }

 private:
  void describe(std::optional<std::int64_t> query_rows) {
    auto& s = arguments.shape;
    s.batch = t.k.size(0);
    s.kv_heads = t.k.size(1);
    s.length = t.k.size(2);
    s.dim = t.k.size(3);
    s.heads = t.q.size(1);
    s.query_begin = more.query_begin;
    const std::int64_t width = t.map.q_weight.defined() ? t.map.q_weight.size(1) : 0;
    s.features = t.phi_q.defined() ? t.phi_q.size(3) : 2 * width;
    s.window = t.window;
    s.sinks = t.sinks;
    s.causal = t.causal;
    s.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.dim)));
    check(s.heads % s.kv_heads == 0, "attention: {} query heads are no multiple of {} key/value heads", s.heads, s.kv_heads);
    check(s.causal || (s.features > 0 && s.window == 0 && s.sinks == 0 && !t.log_gate.defined()),
          "attention: the bidirectional form is linear, without window, sinks or gate");
    const std::int64_t rows = query_rows.value_or(s.query_rows());
    check_shape(t.q, "q", {s.batch, s.heads, rows, s.dim});
    check_shape(t.v, "v", {s.batch, s.kv_heads, s.length, s.dim});
    check_shape(t.phi_q, "phi_q", {s.batch, s.heads, rows, s.features});
    check_shape(t.phi_k, "phi_k", {s.batch, s.kv_heads, s.length, s.features});
    check_shape(t.row_log_scale, "row_log_scale", {s.batch, s.heads, rows});
    check_shape(t.log_gate, "log_gate", {s.batch, s.kv_heads, s.length});
    check_shape(t.segment_start, "segment_start", {s.batch, s.length});
    check_shape(t.key_count, "key_count", {s.batch});
    check_shape(more.state.s, "state", {s.batch, s.kv_heads, s.features, s.dim});
    check_shape(more.state.scale, "the state's scale", {s.batch, s.kv_heads, s.features});
    check_shape(more.state.z, "the state's normaliser", {s.batch, s.kv_heads, s.features});
    check_shape(t.map.q_weight, "the queries' map", {s.heads, width, s.dim});
    check_shape(t.map.q_bias, "the queries' bias", {s.heads, width});
    check_shape(t.map.k_weight, "the keys' map", {s.kv_heads, width, s.dim});
    check_shape(t.map.k_bias, "the keys' bias", {s.kv_heads, width});
    check_shape(t.map.k_reference, "the keys' reference", {s.batch, s.kv_heads, s.length});
    auto& a = arguments;
    if (width > 0) {
      check(!t.phi_q.defined(), "attention: a map in the kernel takes the place of features");
      check(t.map.k_reference.defined() == (t.map.activation == kernels::Activation::kExp),
            "attention: the exp map, and no other, needs the keys' reference");
      a.map = {t.map.activation,
               width,
               t.map.q_weight.const_data_ptr<float>(),
               t.map.q_bias.const_data_ptr<float>(),
               t.map.k_weight.const_data_ptr<float>(),
               t.map.k_bias.const_data_ptr<float>(),
               t.map.k_reference.defined() ? t.map.k_reference.const_data_ptr<float>() : nullptr};
    }
    a.q = input_rows(t.q);
    a.k = input_rows(t.k);
    a.v = input_rows(t.v);
    a.phi_q = strided<const float>(t.phi_q);
    a.phi_k = strided<const float>(t.phi_k);
    if (t.row_log_scale.defined()) a.row_log_scale = t.row_log_scale.const_data_ptr<float>();
    if (t.log_gate.defined()) a.log_gate = t.log_gate.const_data_ptr<float>();
    if (t.segment_start.defined()) a.segment_start = t.segment_start.const_data_ptr<std::int32_t>();
    if (t.key_count.defined()) a.key_count = t.key_count.const_data_ptr<std::int32_t>();
    a.state_in = linear_state(more.state);
    a.rounding_seed = static_cast<std::uint32_t>(more.rounding_seed);
    if (more.prefix_k.defined()) {
      a.prefix_k = input_rows(more.prefix_k);
      a.prefix_v = input_rows(more.prefix_v);
      a.prefix_rows = more.prefix_k.size(2);
    }
  }
};

struct ForwardResult {
  at::Tensor out, row_max, inverse_sum, block_states;
};

// `keeps`: what backward takes over.
ForwardResult run_forward(Call& call, bool keeps, const kernels::LinearState& state_out = {}) {
  const auto& s = call.arguments.shape;
  ForwardResult result;
  if (const std::int64_t count = keeps ? kernels::block_state_floats(s) : 0; count > 0) {
    result.block_states = at::empty({count}, at::kFloat);
    call.arguments.block_states = result.block_states.mutable_data_ptr<float>();
  }
  result.out = rows_first(call.t.q, s.heads, s.query_rows(), s.dim, call.t.q.scalar_type());
  if (keeps) {
    result.row_max = at::empty({s.batch, s.heads, s.query_rows()}, at::kFloat);
    result.inverse_sum = at::empty_like(result.row_max);
  }
  kernels::attention_forward(
      call.arguments, output_rows(result.out), keeps ? result.row_max.mutable_data_ptr<float>() : nullptr,
      keeps ? result.inverse_sum.mutable_data_ptr<float>() : nullptr, state_out, call.more.absorb_end, torch_threads());
  return result;
}

// d log γ_t = Σ_{i ≥ t} (φ(q_i)·dφ(q_i), summed over the group, − φ(k_i)·dφ(k_i)).
at::Tensor gate_gradient(const at::Tensor& q_dot, const at::Tensor& of_keys) {
  const std::int64_t batch = of_keys.size(0), kv_heads = of_keys.size(1), length = of_keys.size(2);
  const auto of_rows = q_dot.reshape({batch, kv_heads, -1, length}).sum(2);
  return (of_rows - of_keys).to(at::kDouble).flip(-1).cumsum(-1).flip(-1).to(at::kFloat);
}

// Tensors for the map's gradients, and their addresses in `to`.
OperatorMap map_gradients(const OperatorMap& map, kernels::AttentionGradients& to) {
  OperatorMap gradients;
  const auto make = [](const at::Tensor& like, at::Tensor& gradient) {
    gradient = at::empty_like(like);
    return gradient.mutable_data_ptr<float>();
  };
  to.q_weight = make(map.q_weight, gradients.q_weight);
  to.q_bias = make(map.q_bias, gradients.q_bias);
  to.k_weight = make(map.k_weight, gradients.k_weight);
  to.k_bias = make(map.k_bias, gradients.k_bias);
  return gradients;
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  // A tensor that a custom function may lack has to be optional: an undefined one is refused.
  using Maybe = std::optional<at::Tensor>;

  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const Maybe& phi_q, const Maybe& phi_k, const Maybe& row_log_scale,
                            const Maybe& log_gate, const Maybe& segment_start, const Maybe& key_count, std::int64_t window,
                            std::int64_t sinks, bool causal, std::int64_t activation, const Maybe& q_weight,
                            const Maybe& q_bias, const Maybe& k_weight, const Maybe& k_bias, const Maybe& k_reference,
                            bool learns) {
    const auto get = [](const Maybe& x) { return x.value_or(at::Tensor()); };
    const OperatorInput input{q,
                              k,
                              v,
                              get(phi_q),
                              get(phi_k),
                              get(row_log_scale),
                              get(log_gate),
                              get(segment_start),
                              get(key_count),
                              window,
                              sinks,
                              causal,
                              {static_cast<kernels::Activation>(activation), get(q_weight), get(q_bias), get(k_weight),
                               get(k_bias), get(k_reference)}};
    Call call(input, kernel_dtype(input));
    const auto result = run_forward(call, learns);
    const auto& map = call.t.map;
    context->save_for_backward({call.t.q, call.t.k, call.t.v, call.t.phi_q, call.t.phi_k, call.t.row_log_scale, call.t.log_gate,
                                call.t.segment_start, call.t.key_count, result.out, result.row_max, result.inverse_sum,
                                map.q_weight, map.q_bias, map.k_weight, map.k_bias, map.k_reference, result.block_states});
    context->saved_data["activation"] = activation;
    context->saved_data["window"] = window;
    context->saved_data["sinks"] = sinks;
    context->saved_data["causal"] = causal;
    context->saved_data["dtype"] = static_cast<std::int64_t>(q.scalar_type());
    return result.out.to(q.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const OperatorInput input{saved[0],
                              saved[1],
                              saved[2],
                              saved[3],
                              saved[4],
                              saved[5],
                              saved[6],
                              saved[7],
                              saved[8],
                              context->saved_data["window"].toInt(),
                              context->saved_data["sinks"].toInt(),
                              context->saved_data["causal"].toBool(),
                              {static_cast<kernels::Activation>(context->saved_data["activation"].toInt()), saved[12],
                               saved[13], saved[14], saved[15], saved[16]}};
    Call call(input, kernel_dtype(input));
    if (saved[17].defined()) call.arguments.block_states = saved[17].mutable_data_ptr<float>();
    const auto& s = call.arguments.shape;
    const auto options = call.t.q.options().dtype(at::kFloat);
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    const auto kernel = kernel_dtype(input);
    const auto dout = as_rows(gradients[0], kernel);
    const bool exact = s.window > 0 || s.sinks > 0 || s.features == 0, mapped = call.t.map.q_weight.defined();
    // Exact keys' gradients are summed in place.
    const auto of_keys = exact ? at::kFloat : kernel;
    // In the memory order of its input, so that whatever takes the gradient finds it as it left that.
    auto dv = at::empty_like(call.t.v, call.t.v.options().dtype(of_keys));
    at::Tensor dq, dk, dphi_q, dphi_k, dscale, dgate, q_dot, k_dot;
    OperatorMap of_map;
    if (exact || mapped) {
      dq = at::empty_like(call.t.q);
      dk = at::empty_like(call.t.k, call.t.k.options().dtype(of_keys));
    }
    kernels::AttentionGradients to;
    if (mapped) {
      of_map = map_gradients(call.t.map, to);
    } else if (s.features > 0) {
      dphi_q = at::empty({s.batch, s.heads, s.length, s.features}, options);
      dphi_k = at::empty({s.batch, s.kv_heads, s.length, s.features}, options);
    }
    if (call.t.row_log_scale.defined() || call.t.log_gate.defined()) {
      q_dot = at::empty({s.batch, s.heads, s.length}, options);
      k_dot = at::empty({s.batch, s.kv_heads, s.length}, options);
      to.q_dot = q_dot.mutable_data_ptr<float>();
      to.k_dot = k_dot.mutable_data_ptr<float>();
    }
    to.q = output_rows(dq);
    to.k = output_rows(dk);
    to.v = output_rows(dv);
    to.phi_q = strided<float>(dphi_q);
    to.phi_k = strided<float>(dphi_k);
    kernels::attention_backward(call.arguments, input_rows(saved[9]), input_rows(dout), saved[10].const_data_ptr<float>(),
                                saved[11].const_data_ptr<float>(), to, torch_threads());
    if (call.t.row_log_scale.defined()) dscale = q_dot;
    if (call.t.log_gate.defined()) dgate = gate_gradient(q_dot, k_dot);
    const auto as_input = [dtype](const at::Tensor& x) { return x.defined() ? x.to(dtype) : x; };
    return {as_input(dq), as_input(dk), as_input(dv),    dphi_q,        dphi_k,          dscale,        dgate, {}, {}, {}, {},
            {},           {},           of_map.q_weight, of_map.q_bias, of_map.k_weight, of_map.k_bias, {},    {}};
  }
};

}  // namespace

at::Tensor to_query_heads(const at::Tensor& x, std::int64_t heads) {
  return x.repeat_interleave(heads / x.size(1), 1);
}

at::Tensor attention_operator(const OperatorInput& i) {
  if (composed_form_is_chosen()) return composed_attention(i);
  using Maybe = AttentionFunction::Maybe;
  bool learns = false;
  for (const auto* x : {&i.q, &i.k, &i.v, &i.phi_q, &i.phi_k, &i.row_log_scale, &i.log_gate, &i.map.q_weight, &i.map.q_bias,
                        &i.map.k_weight, &i.map.k_bias}) {
    learns = learns || (x->defined() && x->requires_grad());
  }
  return AttentionFunction::apply(i.q, i.k, i.v, Maybe(i.phi_q), Maybe(i.phi_k), Maybe(i.row_log_scale), Maybe(i.log_gate),
                                  Maybe(i.segment_start), Maybe(i.key_count), i.window, i.sinks, i.causal,
                                  static_cast<std::int64_t>(i.map.activation), Maybe(i.map.q_weight), Maybe(i.map.q_bias),
                                  Maybe(i.map.k_weight), Maybe(i.map.k_bias), Maybe(i.map.k_reference),
                                  learns && at::GradMode::is_enabled());
}

OperatorOutput continue_operator(const OperatorInput& input, const OperatorContinuation& continuation) {
  Call call(input, kernel_dtype(input), continuation);
  OperatorState state = continuation.state;
  if (!state.s.defined() && call.arguments.shape.features > 0) {
    state = new_state(call.arguments.shape, continuation.state_dtype);
  }
  const auto result = run_forward(call, false, linear_state(state));
  return {result.out.to(input.q.scalar_type()), state};
}

DistillationOutput distillation_operator(const OperatorInput& input, const QueryRows& rows, std::int64_t teacher_window,
                                         double gradient_scale, bool wants_teacher) {
  const std::int64_t count = rows.count(input.k.size(2));
  check(rows.first >= 0 && count >= 1, "distillation: no query row at {} + {}·i of {}", rows.first, rows.step, input.k.size(2));
  if (composed_form_is_chosen()) {
    return composed_distillation(input, rows, teacher_window, gradient_scale, wants_teacher);
  }
  const auto of_rows = [&rows](const at::Tensor& x) { return x.defined() ? x.slice(2, rows.first, {}, rows.step) : x; };
  OperatorInput chosen = input;
  chosen.q = of_rows(input.q);
  chosen.phi_q = of_rows(input.phi_q);
  chosen.row_log_scale = of_rows(input.row_log_scale);
  const Call call(chosen, kernel_dtype(input), {}, count);
  const auto& s = call.arguments.shape;
  check(s.features > 0, "distillation: softmax attention has no feature maps to learn");
  const auto options = call.t.q.options().dtype(at::kFloat);
  DistillationOutput output;
  output.cross_entropy = at::zeros({s.batch, s.heads, count}, options);
  output.entropy = at::zeros({s.batch, s.heads, count}, options);
  kernels::DistillationResult result;
  result.cross_entropy = output.cross_entropy.mutable_data_ptr<float>();
  result.entropy = output.entropy.mutable_data_ptr<float>();
  if (wants_teacher) {
    output.teacher = rows_first(call.t.q, s.heads, count, s.dim, call.t.q.scalar_type());
    if (call.t.key_count.defined()) output.teacher.zero_();
    result.teacher = output_rows(output.teacher);
  }
  kernels::AttentionGradients to;
  at::Tensor q_dot, k_dot;
  if (gradient_scale != 0) {
    if (call.t.map.q_weight.defined()) {
      output.map = map_gradients(call.t.map, to);
    } else {
      output.phi_q = at::zeros({s.batch, s.heads, s.length, s.features}, options);
      output.phi_k = at::empty({s.batch, s.kv_heads, s.length, s.features}, options);
      to.phi_q = strided<float>(of_rows(output.phi_q));
      to.phi_k = strided<float>(output.phi_k);
    }
    if (call.t.row_log_scale.defined() || call.t.log_gate.defined()) {
      q_dot = at::empty({s.batch, s.heads, count}, options);
      k_dot = at::empty({s.batch, s.kv_heads, s.length}, options);
      to.q_dot = q_dot.mutable_data_ptr<float>();
      to.k_dot = k_dot.mutable_data_ptr<float>();
    }
  }
  kernels::attention_distillation(call.arguments, rows, teacher_window, static_cast<float>(gradient_scale), result, to,
                                  torch_threads());
  if (!q_dot.defined()) return output;
  at::Tensor of_all = q_dot;
  if (count < s.length) {
    of_all = at::zeros({s.batch, s.heads, s.length}, options);
    of_rows(of_all).copy_(q_dot);
  }
  if (call.t.row_log_scale.defined()) output.row_log_scale = of_all;
  if (call.t.log_gate.defined()) output.log_gate = gate_gradient(of_all, k_dot);
  return output;
}

}  // namespace hedgehog
