#include "hedgehog/attention/direct.h"

#include "hedgehog/attention/attention_weights.h"

#include <ATen/ATen.h>

#include <cmath>

namespace hedgehog {

at::Tensor direct_attention(const OperatorInput& input, at::Tensor (*of_score)(const at::Tensor& scores)) {
  const std::int64_t heads = input.q.size(1), length = input.k.size(2);
  const auto q = input.q.to(at::kFloat) / std::sqrt(static_cast<double>(input.q.size(3)));
  const auto k = to_query_heads(input.k.to(at::kFloat), heads), v = to_query_heads(input.v.to(at::kFloat), heads);
  const auto zero = at::zeros({}, q.options());
  const auto seen = visible_keys(input, at::arange(length, at::kLong));
  const auto weights = at::where(seen, of_score(at::matmul(q, k.transpose(-1, -2))), zero);
  const auto sum = weights.sum(-1, true);
  const auto some = sum.ne(0);
  const auto y = at::matmul(weights, v) / at::where(some, sum, at::ones({}, q.options()));
  return at::where(some, y, zero).to(input.q.scalar_type());
}

}  // namespace hedgehog
