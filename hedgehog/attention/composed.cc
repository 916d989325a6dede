#include "hedgehog/attention/composed.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/attention/scaled_dot_product.h"
#include "hedgehog/base/error.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

namespace hedgehog {
namespace {

constexpr std::int64_t kComposedChunk = 64;
constexpr std::int64_t kComposedRows = 512;
// The log gate where a document starts: e^-1000 is 0.
constexpr double kForgotten = -1000;
// The least weight that a logarithm is taken of, and the least sum that a row is divided by, as in the kernels.
constexpr double kLeastWeight = 1e-12, kLeastSum = 1e-34;

struct ComposedFeatures {
  at::Tensor phi, log_scale;
};

ComposedFeatures features(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                          kernels::Activation activation) {
  const auto u = (at::matmul(x, weight.to(x.scalar_type()).transpose(-1, -2)) + bias.unsqueeze(-2)).to(at::kFloat);
  if (activation == kernels::Activation::kJointSoftmax) return {at::cat({2 * u, -2 * u}, -1).softmax(-1), {}};
  if (activation == kernels::Activation::kSplitSoftmax) return {at::cat({u.softmax(-1), (-u).softmax(-1)}, -1), {}};
  const auto top = u.abs().amax(-1).detach();
  return {at::exp(at::cat({u, -u}, -1) - top.unsqueeze(-1)), top};
}

// The same call with features in place of a map.
OperatorInput with_features(OperatorInput call) {
  if (!call.map.q_weight.defined()) return call;
  const auto queries = features(call.q, call.map.q_weight, call.map.q_bias, call.map.activation);
  const auto keys = features(call.k, call.map.k_weight, call.map.k_bias, call.map.activation);
  call.phi_q = queries.phi;
  call.phi_k = keys.phi;
  if (keys.log_scale.defined()) {
    call.phi_k = keys.phi * at::exp(keys.log_scale - call.map.k_reference).unsqueeze(-1);
    if (call.row_log_scale.defined()) call.row_log_scale = call.row_log_scale + queries.log_scale;
  }
  call.map = {};
  return call;
}

at::Tensor normalised(const at::Tensor& sums) {
  const std::int64_t dim = sums.size(-1) - 1;
  const auto sum = sums.narrow(-1, dim, 1);
  const auto some = sum.abs().ge(kLeastSum);
  return at::where(some, sums.narrow(-1, 0, dim) / at::where(some, sum, at::ones({}, sum.options())),
                   at::zeros({}, sum.options()));
}

// v and a column of ones, whose sum is the normaliser.
at::Tensor with_ones(const at::Tensor& v) {
  auto sizes = v.sizes().vec();
  sizes.back() = 1;
  return at::cat({v, at::ones(sizes, v.options())}, -1);
}

at::Tensor in_fp32(const at::Tensor& x) {
  return x.to(at::kFloat);
}

// All rows' weights of a mask [B or 1, 1, N, N].
at::Tensor softmax_attention(const OperatorInput& i) {
  if (!i.segment_start.defined() && i.window == 0 && i.sinks == 0) return scaled_dot_product(i.q, i.k, i.v, {}, i.causal);
  const std::int64_t length = i.k.size(2);
  const auto position = at::arange(length, i.q.options().dtype(at::kLong).requires_grad(false));
  const auto row = position.unsqueeze(-1);
  auto start = at::zeros({1, length}, position.options());
  if (i.segment_start.defined()) start = i.segment_start.to(at::kLong);
  const auto row_start = start.unsqueeze(-1);  // [B, N, 1]
  auto seen = start.unsqueeze(1).eq(row_start).logical_and(position.le(row));
  if (i.window > 0 || i.sinks > 0)
    seen = seen.logical_and((row - position).lt(i.window).logical_or((position - row_start).lt(i.sinks)));
  // A row without any key has the output 0: it attends to a key of zeros.
  return at::where(seen.any(-1).unsqueeze(1).unsqueeze(-1),
                   scaled_dot_product(i.q, i.k, i.v, seen.logical_or(seen.any(-1, true).logical_not()).unsqueeze(1), false),
                   at::zeros({}, i.q.options()));
}

at::Tensor bidirectional(const OperatorInput& i) {
  const auto dtype = i.q.scalar_type();
  auto phi_k = i.phi_k.to(dtype);
  if (i.key_count.defined()) {
    const auto position = at::arange(i.k.size(2), i.key_count.options().dtype(at::kLong));
    phi_k = phi_k * position.lt(i.key_count.to(at::kLong).unsqueeze(-1)).unsqueeze(1).unsqueeze(-1);
  }
  const std::int64_t heads = i.q.size(1);
  const auto v = with_ones(i.v);
  if (!i.segment_start.defined()) {
    const auto state = at::matmul(phi_k.transpose(-1, -2), v);
    return normalised(in_fp32(at::matmul(i.phi_q.to(dtype), to_query_heads(state, heads)))).to(dtype);
  }
  const auto alike = i.segment_start.unsqueeze(-1).eq(i.segment_start.unsqueeze(-2)).unsqueeze(1);
  const auto weights = at::matmul(i.phi_q.to(dtype), to_query_heads(phi_k, heads).transpose(-1, -2)) * alike;
  return normalised(in_fp32(at::matmul(weights, to_query_heads(v, heads)))).to(dtype);
}

// Rows in chunks: a tile is a chunk's rows beside the keys of the same chunk and of those before it that the window reaches.
class Chunked {
 public:
  explicit Chunked(const OperatorInput& input)
      : i_(input),
        dtype_(input.q.scalar_type()),
        batch_(input.k.size(0)),
        kv_heads_(input.k.size(1)),
        group_(input.q.size(1) / kv_heads_),
        length_(input.k.size(2)),
        chunks_((length_ + kComposedChunk - 1) / kComposedChunk),
        reach_(std::min((std::max<std::int64_t>(input.window, 1) + kComposedChunk - 2) / kComposedChunk, chunks_ - 1)),
        exact_(input.window > 0) {}

  at::Tensor attend() {
    locate();
    const auto v = with_ones(i_.v), values = tiles(keys(v));
    const auto phi_q = queries(i_.phi_q.to(dtype_));
    const auto phi_k = keys(linear_keys());
    auto linear = at::matmul(weights_of_tile(phi_q, phi_k), values) + from_states(phi_q, phi_k, keys(v));
    linear = in_fp32(linear);
    if (!exact_ && i_.sinks == 0) return rows(normalised(linear));

    const auto none = at::full({}, -std::numeric_limits<float>::infinity(), linear.options());
    const auto scale = 1 / std::sqrt(static_cast<double>(i_.q.size(3)));
    at::Tensor near, sink;  // scores
    auto log_factor = i_.row_log_scale.defined() ? queries(i_.row_log_scale.unsqueeze(-1)) : at::zeros({}, linear.options());
    auto top = log_factor.detach();
    if (exact_) {
      near = in_fp32(at::matmul(queries(i_.q), tiles(keys(i_.k)).transpose(-1, -2))) * scale;
      near = at::where(by_group(near_), of_group(near), none);
      near = near.flatten(3, 4);
      top = at::maximum(top, near.detach().amax(-1, true));
    }
    if (i_.sinks > 0) {
      sink = in_fp32(at::matmul(sink_rows(i_.k), queries(i_.q).unsqueeze(-1)).squeeze(-1)) * scale;
      sink = at::where(sink_visible(), sink, none);
      top = at::maximum(top, sink.detach().amax(-1, true));
    }
    auto sums = linear * at::exp(log_factor - top);
    if (exact_) sums = sums + in_fp32(at::matmul(at::exp(near - top).to(dtype_), values));
    if (i_.sinks > 0) sums = sums + in_fp32(at::matmul(at::exp(sink - top).to(dtype_).unsqueeze(-2), sink_rows(v)).squeeze(-2));
    return rows(normalised(sums));
  }

 private:
  at::Tensor padded(const at::Tensor& x, std::int64_t dimension, double value = 0) const {
    const std::int64_t missing = chunks_ * kComposedChunk - length_;
    if (missing == 0) return x;
    auto sizes = x.sizes().vec();
    sizes[static_cast<std::size_t>(dimension)] = missing;
    return at::cat({x, at::full(sizes, value, x.options().requires_grad(false))}, dimension);
  }
  // [B, G, N, W] to [B, G, chunks, C, W].
  at::Tensor keys(const at::Tensor& x) const { return padded(x, 2).unflatten(2, {chunks_, kComposedChunk}); }
  // [B, H, N, W] to [B, G, chunks, group · C, W].
  at::Tensor queries(const at::Tensor& x) const {
    return padded(x, 2).reshape({batch_, kv_heads_, group_, chunks_, kComposedChunk, x.size(3)}).transpose(2, 3).flatten(3, 4);
  }
  // The way back, in the dtype of the call.
  at::Tensor rows(const at::Tensor& x) const {
    const auto whole = of_group(x).transpose(2, 3).reshape({batch_, kv_heads_ * group_, chunks_ * kComposedChunk, x.size(-1)});
    return whole.narrow(2, 0, length_).to(dtype_);
  }
  // [..., group · C, W] with the group apart.
  at::Tensor of_group(const at::Tensor& x) const { return x.unflatten(3, {group_, kComposedChunk}); }
  static at::Tensor by_group(const at::Tensor& x) { return x.unsqueeze(3); }
  // [.., chunks, C, W] (dimension `at`: chunks) to [.., chunks, (reach + 1) C, W], zeros before the first chunk.
  at::Tensor tiles(const at::Tensor& x, std::int64_t at = 2, double before = 0) const {
    if (reach_ == 0) return x;
    std::vector<at::Tensor> shifted;
    for (std::int64_t back = reach_; back > 0; --back) {
      auto sizes = x.sizes().vec();
      sizes[static_cast<std::size_t>(at)] = back;
      shifted.push_back(
          at::cat({at::full(sizes, before, x.options().requires_grad(false)), x.narrow(at, 0, chunks_ - back)}, at));
    }
    shifted.push_back(x);
    return at::cat(shifted, at + 1);
  }

  // Which keys of its tile a row sees, and how.
  void locate() {
    const auto options = i_.q.options().dtype(at::kLong).requires_grad(false);
    const auto position = at::arange(length_, options).expand({batch_, length_});
    start_ = i_.segment_start.defined() ? i_.segment_start.to(at::kLong) : at::zeros_like(position);
    const auto chunked = [&](const at::Tensor& x, double value) {
      return padded(x, 1, value).unflatten(1, {chunks_, kComposedChunk}).unsqueeze(-1);  // [B, chunks, C, 1]
    };
    const auto row = chunked(position, static_cast<double>(length_)), row_start = chunked(start_, static_cast<double>(length_));
    const auto key = tiles(row, 1, -1).transpose(-1, -2), key_start = tiles(row_start, 1, -1).transpose(-1, -2);
    auto seen = key.le(row).logical_and(key_start.eq(row_start));
    seen = seen.logical_and((key - key_start).ge(i_.sinks)).unsqueeze(1);  // [B, 1, chunks, C, T]
    const auto near = (row - key).lt(i_.window).unsqueeze(1);
    near_ = seen.logical_and(near);
    far_ = seen.logical_and(near.logical_not());
    // Log gates of the states, in fp64 because documents' borders are large numbers.
    decays_ = i_.log_gate.defined() || i_.segment_start.defined();
    if (!decays_) return;
    auto gate = i_.log_gate.defined() ? i_.log_gate.to(at::kDouble)
                                      : at::zeros({batch_, kv_heads_, length_}, i_.q.options().dtype(at::kDouble));
    if (i_.segment_start.defined()) gate = gate + kForgotten * start_.eq(position).unsqueeze(1);
    log_gate_ = keys(gate.unsqueeze(-1)).squeeze(-1);  // [B, G, chunks, C]
    from_start_ = log_gate_.cumsum(-1);
  }

  // Keys of the linear part: sinks are none of it.
  at::Tensor linear_keys() const {
    const auto phi = i_.phi_k.to(dtype_);
    if (i_.sinks == 0) return phi;
    const auto position = at::arange(length_, start_.options());
    return phi * (position - start_).ge(i_.sinks).unsqueeze(1).unsqueeze(-1);
  }

  // φ(q)·φ(k) times the gates between, of the tile's far keys.
  at::Tensor weights_of_tile(const at::Tensor& phi_q, const at::Tensor& phi_k) const {
    auto products = of_group(at::matmul(phi_q, tiles(phi_k).transpose(-1, -2)));
    if (i_.log_gate.defined()) {
      const auto gates = keys(i_.log_gate.to(at::kDouble).unsqueeze(-1));
      const auto sums = tiles(gates).squeeze(-1).cumsum(-1);  // [B, G, chunks, T]
      const auto own = sums.narrow(-1, reach_ * kComposedChunk, kComposedChunk);
      const auto between = in_fp32((own.unsqueeze(-1) - sums.unsqueeze(-2)).clamp_max(0));
      products = products * at::exp(by_group(between)).to(dtype_);
    }
    return at::where(by_group(far_), products, at::zeros({}, products.options())).flatten(3, 4);
  }

  // What the rows read from the state before their tile.
  at::Tensor from_states(const at::Tensor& phi_q, const at::Tensor& phi_k, const at::Tensor& v) const {
    if (chunks_ == reach_ + 1 && chunks_ == 1) return at::zeros({}, v.options());
    const auto total = decays_ ? from_start_.select(-1, kComposedChunk - 1) : at::Tensor();  // [B, G, chunks]
    auto added_keys = phi_k;
    if (decays_) added_keys = phi_k * at::exp(in_fp32(total.unsqueeze(-1) - from_start_)).to(dtype_).unsqueeze(-1);
    const auto added = in_fp32(at::matmul(added_keys.transpose(-1, -2), v));  // [B, G, chunks, F, D + 1]
    at::Tensor before;
    if (!decays_) {
      before = added.cumsum(2) - added;
    } else {
      // S_c = Σ_{e < c} exp(the gates of the chunks between) · what e adds.
      const auto sums = total.cumsum(-1), shifted = sums - total;
      const auto between = in_fp32((shifted.unsqueeze(-1) - sums.unsqueeze(-2)).clamp_max(0));
      before = at::matmul(at::exp(between).tril(-1), added.flatten(3)).view_as(added);
    }
    // The state at the tile's start, and the gates from there to a row.
    if (reach_ > 0) {
      auto sizes = before.sizes().vec();
      sizes[2] = reach_;
      before = at::cat({at::zeros(sizes, before.options()), before.narrow(2, 0, chunks_ - reach_)}, 2);
    }
    auto read = in_fp32(at::matmul(phi_q, before.to(dtype_)));
    if (decays_) {
      auto decay = tiles(log_gate_.unsqueeze(-1)).squeeze(-1).cumsum(-1).narrow(-1, reach_ * kComposedChunk, kComposedChunk);
      read = (of_group(read) * by_group(at::exp(in_fp32(decay))).unsqueeze(-1)).flatten(3, 4);
    }
    return read.to(dtype_);
  }

  // [B, G, N, W] to each row's sinks [B, G, chunks, group · C, sinks, W].
  at::Tensor sink_rows(const at::Tensor& x) const {
    const auto index = (start_.unsqueeze(-1) + at::arange(i_.sinks, start_.options())).clamp_max(length_ - 1);  // [B, N, sinks]
    const auto wide = index.flatten(1).unsqueeze(1).unsqueeze(-1).expand({batch_, kv_heads_, length_ * i_.sinks, x.size(3)});
    const auto found = x.gather(2, wide).reshape({batch_, kv_heads_, length_, i_.sinks * x.size(3)});
    return queries(to_query_heads(found, kv_heads_ * group_)).unflatten(-1, {i_.sinks, x.size(3)});
  }
  at::Tensor sink_visible() const {  // [B, 1, chunks, group · C, sinks]
    const auto position = at::arange(length_, start_.options());
    const auto seen = at::arange(i_.sinks, start_.options()).le((position - start_).unsqueeze(-1));
    const auto heads = seen.unsqueeze(1).expand({batch_, kv_heads_ * group_, length_, i_.sinks});
    return queries(heads.to(at::kFloat)).gt(0);
  }

  const OperatorInput& i_;
  at::ScalarType dtype_;
  std::int64_t batch_, kv_heads_, group_, length_, chunks_;
  std::int64_t reach_;  // chunks before a row's own that its tile has
  bool exact_, decays_ = false;
  at::Tensor start_;                  // of the row's document [B, N]
  at::Tensor near_, far_;             // [B, 1, chunks, C, T]: exact keys that are no sinks, linear keys
  at::Tensor log_gate_, from_start_;  // fp64 [B, G, chunks, C]: with documents' borders; summed from the chunk's start
};

}  // namespace

bool composed_form_is_chosen() {
  static const bool composed = [] {
    const char* name = std::getenv("HEDGEHOG_ATTENTION");
    const std::string form = name == nullptr ? "" : name;
    check(form.empty() || form == "kernels" || form == "composed",
          "HEDGEHOG_ATTENTION={} is not known; there are: kernels, composed", form);
    return form == "composed";
  }();
  return composed;
}

at::Tensor composed_attention(const OperatorInput& input) {
  const auto call = with_features(input);
  if (!call.phi_q.defined()) return softmax_attention(call);
  return call.causal ? Chunked(call).attend() : bidirectional(call);
}

DistillationOutput composed_distillation(const OperatorInput& input, const QueryRows& distilled, std::int64_t teacher_window,
                                         double gradient_scale, bool wants_teacher) {
  const bool learns = gradient_scale != 0;
  const at::AutoGradMode mode(learns);
  // Leaves of their own: gradients are handed back, not left in anybody's .grad().
  auto call = input;
  std::vector<at::Tensor*> leaves;
  for (at::Tensor* x : {&call.phi_q, &call.phi_k, &call.row_log_scale, &call.log_gate, &call.map.q_weight, &call.map.q_bias,
                        &call.map.k_weight, &call.map.k_bias}) {
    if (!x->defined()) continue;
    *x = x->detach().requires_grad_(learns);
    leaves.push_back(x);
  }
  for (at::Tensor* x : {&call.q, &call.k, &call.v}) *x = x->detach();
  OperatorInput teacher;
  teacher.q = call.q;
  teacher.k = call.k;
  teacher.v = call.v;
  teacher.segment_start = call.segment_start;
  teacher.key_count = call.key_count;
  teacher.causal = call.causal;
  teacher.window = teacher_window;
  const OperatorInput given = with_features(call);
  const std::int64_t count = distilled.count(call.k.size(2));
  std::vector<at::Tensor> cross_entropy, entropy, outputs;
  for (std::int64_t begin = 0; begin < count; begin += kComposedRows) {
    std::vector<std::int64_t> rows;
    for (std::int64_t row = begin; row < std::min(begin + kComposedRows, count); ++row) rows.push_back(distilled.at(row));
    auto p = operator_weights(teacher, rows, at::kFloat).weights;
    if (call.key_count.defined()) {  // rows of padding are not to learn from
      const auto no_padding = at::tensor(rows, at::kInt).lt(call.key_count.unsqueeze(-1));
      p = at::where(no_padding.unsqueeze(1).unsqueeze(-1), p, at::zeros({}, p.options()));
    }
    const auto a = operator_weights(given, rows, at::kFloat).weights;
    const auto loss = -(p * a.clamp_min(kLeastWeight).log()).sum(-1);
    cross_entropy.push_back(loss.detach());
    entropy.push_back(-(p * p.clamp_min(kLeastWeight).log()).sum(-1));
    if (wants_teacher) outputs.push_back(at::matmul(p.to(call.v.scalar_type()), to_query_heads(call.v, call.q.size(1))));
    // The features' part of the graph serves all blocks.
    if (learns) torch::autograd::backward({(loss * gradient_scale).sum()}, {}, /*retain_graph=*/true);
  }
  DistillationOutput output;
  output.cross_entropy = at::cat(cross_entropy, -1);
  output.entropy = at::cat(entropy, -1);
  if (wants_teacher) output.teacher = at::cat(outputs, 2);
  if (!learns) return output;
  const auto gradient = [](const at::Tensor& x) { return x.defined() ? x.grad() : x; };
  output.phi_q = gradient(call.phi_q);
  output.phi_k = gradient(call.phi_k);
  output.row_log_scale = gradient(call.row_log_scale);
  output.log_gate = gradient(call.log_gate);
  output.map = {call.map.activation,         gradient(call.map.q_weight), gradient(call.map.q_bias),
                gradient(call.map.k_weight), gradient(call.map.k_bias),   {}};
  return output;
}

}  // namespace hedgehog
