#include "hedgehog/benchmark/opponents.h"

#include "hedgehog/attention/attention_operator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

namespace hedgehog {
namespace {

at::Tensor features(const at::Tensor& x, const at::Tensor& weight) {
  const auto u = at::matmul(x, weight.transpose(-1, -2));
  return at::cat({u.softmax(-1), (-u).softmax(-1)}, -1);
}

/// v with a column of ones, whose sum is the normaliser.
at::Tensor with_ones(const at::Tensor& v) {
  auto sizes = v.sizes().vec();
  sizes.back() = 1;
  return at::cat({v, at::ones(sizes, v.options())}, -1);
}

at::Tensor normalised(const at::Tensor& sums) {
  const std::int64_t dim = sums.size(-1) - 1;
  return sums.narrow(-1, 0, dim) / sums.narrow(-1, dim, 1);
}

/// A group's queries as rows: [batch, kv_heads, heads / kv_heads, dim].
at::Tensor grouped(const at::Tensor& q, std::int64_t kv_heads) {
  return q.reshape({q.size(0), kv_heads, q.size(1) / kv_heads, q.size(3)});
}

}  // namespace

at::Tensor softmax_attention(const AttentionInput& input, bool causal) {
  return at::scaled_dot_product_attention(input.q, input.k, input.v, {}, 0.0, causal, std::nullopt,
                                          /*enable_gqa=*/input.q.size(1) != input.k.size(1));
}

at::Tensor cached_softmax_by_groups(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values) {
  return at::scaled_dot_product_attention(q, keys, values, {}, 0.0, /*is_causal=*/false, std::nullopt,
                                          /*enable_gqa=*/q.size(1) != keys.size(1));
}

at::Tensor cached_softmax_by_rows(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values) {
  return at::scaled_dot_product_attention(grouped(q, keys.size(1)), keys, values).reshape(q.sizes());
}

at::Tensor cached_softmax_by_products(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values) {
  const auto scaled = grouped(q, keys.size(1)) / std::sqrt(static_cast<double>(q.size(3)));
  const auto scores = at::matmul(scaled, keys.transpose(-1, -2));
  return at::matmul(at::softmax(scores, -1, at::kFloat).to(values.scalar_type()), values).reshape(q.sizes());
}

at::Tensor composed_attention(const AttentionInput& input, const ComposedMaps& maps, std::int64_t chunk) {
  const auto batch = input.q.size(0), heads = input.q.size(1), length = input.q.size(2);
  const auto chunks = [&](const at::Tensor& x) { return x.reshape({batch, heads, length / chunk, chunk, x.size(3)}); };
  const auto q = chunks(features(input.q, maps.q));
  const auto k = chunks(to_query_heads(features(input.k, maps.k), heads));
  const auto v = chunks(with_ones(to_query_heads(input.v, heads)));
  const auto sums = at::matmul(k.transpose(-1, -2), v);
  const auto before = sums.cumsum(2) - sums;
  const auto y = at::matmul(at::matmul(q, k.transpose(-1, -2)).tril(), v) + at::matmul(q, before);
  return normalised(y).reshape(input.q.sizes());
}

at::Tensor composed_bidirectional(const AttentionInput& input, const ComposedMaps& maps) {
  const auto state = at::matmul(features(input.k, maps.k).transpose(-1, -2), with_ones(input.v));
  return normalised(at::matmul(features(input.q, maps.q), to_query_heads(state, input.q.size(1))));
}

double eager_distillation(const AttentionInput& input, const ComposedMaps& maps) {
  const at::AutoGradMode mode(true);
  const auto heads = input.q.size(1), length = input.q.size(2);
  const auto q = input.q.to(at::kFloat);
  const auto k = input.k.to(at::kFloat), v = to_query_heads(input.v.to(at::kFloat), heads);
  const auto later = at::ones({length, length}, at::kBool).triu(1);
  at::Tensor p, wanted;
  {
    const at::NoGradGuard teacher;
    auto scores = at::matmul(q, to_query_heads(k, heads).transpose(-1, -2)) / std::sqrt(static_cast<double>(q.size(3)));
    p = scores.masked_fill_(later, -std::numeric_limits<float>::infinity()).softmax(-1);
    wanted = at::matmul(p, v);
  }
  const auto phi_k = to_query_heads(features(k, maps.k), heads);
  const auto scores = at::matmul(features(q, maps.q), phi_k.transpose(-1, -2)).masked_fill(later, 0);
  const auto sum = scores.sum(-1, true);
  // −Σ p log(s / sum) = log sum − Σ p log s saves a division of N×N numbers and its gradient.
  const auto cross_entropy = (sum.squeeze(-1).log() - (p * scores.masked_fill(later, 1).log()).sum(-1)).mean();
  const auto error = (at::matmul(scores, v) / sum - wanted).square().sum() / wanted.square().sum();
  const auto loss = cross_entropy + error;
  torch::autograd::backward({loss}, {});
  return loss.item<double>();
}

}  // namespace hedgehog
