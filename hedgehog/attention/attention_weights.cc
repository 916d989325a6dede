#include "hedgehog/attention/attention_weights.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace hedgehog {

at::Tensor visible_keys(const OperatorInput& input, const at::Tensor& rows) {
  const auto i = rows.view({1, 1, -1, 1}), j = at::arange(input.k.size(2), at::kLong).view({1, 1, 1, -1});
  auto visible = input.causal ? j.le(i) : at::ones({1, 1, i.size(2), j.size(3)}, at::kBool);
  if (input.segment_start.defined()) {
    const auto start = input.segment_start.to(at::kLong).unsqueeze(1);  // [batch, 1, length]
    visible = visible.logical_and(start.unsqueeze(2).eq(start.index_select(2, rows).unsqueeze(-1)));
  }
  if (input.key_count.defined()) visible = visible.logical_and(j.lt(input.key_count.to(at::kLong).view({-1, 1, 1, 1})));
  return visible;
}

AttentionWeights operator_weights(const OperatorInput& input, const std::vector<std::int64_t>& rows, at::ScalarType dtype) {
  const std::int64_t batch = input.k.size(0), heads = input.q.size(1), length = input.k.size(2), dim = input.k.size(3);
  const auto row = at::tensor(rows, at::kLong);
  const auto i = row.view({1, 1, -1, 1}), j = at::arange(length, at::kLong).view({1, 1, 1, -1});
  auto start = at::zeros({1, 1, 1, 1}, at::kLong);
  if (input.segment_start.defined()) start = input.segment_start.to(at::kLong).index_select(1, row).view({batch, 1, -1, 1});
  const auto visible = visible_keys(input, row);
  const bool linear = input.phi_q.defined();
  auto exact = at::ones({1, 1, 1, 1}, at::kBool);
  if (linear || input.window > 0 || input.sinks > 0) {
    exact = (i - j).lt(input.window).logical_or((j - start).lt(input.sinks));
    if (!input.causal) exact = at::zeros({1, 1, 1, 1}, at::kBool);  // no window: all keys are linear
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const auto q = input.q.to(dtype).index_select(2, row), k = to_query_heads(input.k.to(dtype), heads);
  const auto scores = at::matmul(q, k.transpose(-1, -2)) / std::sqrt(static_cast<double>(dim));
  auto top = at::where(visible.logical_and(exact), scores, at::full({}, -infinity, dtype)).amax(-1, true);
  at::Tensor log_factor, products;
  if (linear) {
    const auto phi_q = input.phi_q.to(dtype).index_select(2, row);
    products = at::matmul(phi_q, to_query_heads(input.phi_k.to(dtype), heads).transpose(-1, -2));
    log_factor = at::zeros_like(scores);
    if (input.row_log_scale.defined())
      log_factor = log_factor + input.row_log_scale.to(dtype).index_select(2, row).unsqueeze(-1);
    top = at::maximum(top, log_factor.amax(-1, true).detach());
    if (input.log_gate.defined()) {
      const auto decay = to_query_heads(input.log_gate.to(dtype).cumsum(-1), heads);
      log_factor = log_factor + (decay.index_select(2, row).unsqueeze(-1) - decay.unsqueeze(-2)).clamp_max(0);
    }
  }
  top = top.detach();
  const auto zero = at::zeros({}, dtype);
  const auto exact_part =
      at::where(visible.logical_and(exact), at::exp(at::where(exact.logical_and(visible), scores - top, zero)), zero);
  auto total = exact_part, linear_part = zero;
  if (linear) {
    const auto seen = visible.logical_and(exact.logical_not());
    linear_part = at::where(seen, at::exp(at::where(seen, log_factor - top, zero)) * products, zero);
    total = exact_part + linear_part;
  }
  const auto sum = total.sum(-1, true);
  // Below 0 where features are. In fp32 the gradient of a weight's logarithm, 1e12 / sum for the least weight that one is taken
  // of, must be a number.
  const auto some = sum.abs().gt(dtype == at::kDouble ? 1e-300 : 1e-20);
  const auto divisor = at::where(some, sum, at::ones({}, dtype));
  const auto share = [&](const at::Tensor& part) { return at::where(some, part, zero) / divisor; };
  AttentionWeights result;
  result.weights = share(total);
  result.log_sum = (sum.abs().log() + top).squeeze(-1);
  result.linear_share = linear ? share(linear_part).sum(-1) : at::zeros_like(sum.squeeze(-1));
  return result;
}

AttentionWeights attention_weights(const Attention& attention, const AttentionInput& input,
                                   const std::vector<std::int64_t>& rows) {
  AttentionWeights result = operator_weights(attention.operator_input(input), rows);
  const at::Tensor& kept = attention.softmax_heads();
  if (!kept.defined()) return result;
  const Attention softmax = attention.with_config({.causal = attention.config().causal});
  const AttentionWeights exact = operator_weights(softmax.operator_input(input), rows);
  for (auto member : {&AttentionWeights::weights, &AttentionWeights::linear_share, &AttentionWeights::log_sum}) {
    result.*member = (result.*member).index_copy(1, kept, (exact.*member).index_select(1, kept));
  }
  return result;
}

}  // namespace hedgehog
