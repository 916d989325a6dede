// Layers where some key/value heads keep softmax: two attentions of fewer heads side by side.
#include "hedgehog/attention/mixed_heads.h"
#include "hedgehog/attention/attention.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace hedgehog {
namespace {

// `heads` are in order, so that the first and the last say whether they are neighbours, whose rows need no copy.
at::Tensor rows_of(const at::Tensor& x, std::int64_t dim, const at::Tensor& heads) {
  if (!x.defined()) return x;
  const std::int64_t count = heads.numel();
  const std::int64_t* const places = heads.const_data_ptr<std::int64_t>();
  if (places[count - 1] - places[0] == count - 1) return x.narrow(dim, places[0], count);
  return x.index_select(dim, heads);
}

}  // namespace

AttentionInput input_of_heads(const AttentionInput& input, const at::Tensor& heads, const at::Tensor& kv_heads) {
  AttentionInput part = input;
  part.q = rows_of(input.q, 1, heads);
  part.k = rows_of(input.k, 1, kv_heads);
  part.v = rows_of(input.v, 1, kv_heads);
  return part;
}

void Attention::choose_heads() {
  const std::vector<std::int64_t>& kept = config_.softmax_heads;
  if (kept.empty()) return;
  check(config_.kind != AttentionKind::kSoftmax, "attention: softmax has no heads to keep");
  check(std::ssize(kept) < kv_heads_ && kept.front() >= 0 && kept.back() < kv_heads_ &&
            std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end(),
        "attention: heads that keep softmax should be some of the key/value heads 0 to {}, each once and in order, and not all",
        kv_heads_ - 1);
  softmax_kv_ = at::tensor(kept, at::kLong);
  const at::Tensor is_softmax = at::zeros({kv_heads_}, at::kBool).index_fill_(0, softmax_kv_, true);
  const at::Tensor of_queries = is_softmax.repeat_interleave(heads_ / kv_heads_);
  const auto places = [](const at::Tensor& chosen) { return chosen.nonzero().flatten(); };
  linear_kv_ = places(is_softmax.logical_not());
  linear_q_ = places(of_queries.logical_not());
  softmax_q_ = places(of_queries);
  joined_ = at::cat({linear_q_, softmax_q_}).argsort();
}

Attention Attention::linear_part() const {
  AttentionConfig config = config_;
  config.softmax_heads.clear();
  Attention part = *this;
  part.config_ = std::move(config);
  part.heads_ = linear_q_.numel();
  part.kv_heads_ = linear_kv_.numel();
  for (at::Tensor* x : {&part.q_map_.weight, &part.q_map_.bias, &part.mix_weight_, &part.mix_bias_})
    *x = rows_of(*x, 0, linear_q_);
  for (at::Tensor* x : {&part.k_map_.weight, &part.k_map_.bias, &part.gate_weight_, &part.gate_bias_}) {
    *x = rows_of(*x, 0, linear_kv_);
  }
  for (at::Tensor* x : {&part.softmax_q_, &part.softmax_kv_, &part.linear_q_, &part.linear_kv_, &part.joined_}) x->reset();
  return part;
}

Attention Attention::softmax_part() const {
  return {{.causal = config_.causal}, softmax_q_.numel(), softmax_kv_.numel(), dim_, hidden_};
}

at::Tensor Attention::put_together(const at::Tensor& linear, const at::Tensor& softmax) const {
  return at::cat({linear, softmax}, 1).index_select(1, joined_);
}

}  // namespace hedgehog
