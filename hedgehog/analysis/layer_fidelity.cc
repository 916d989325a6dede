#include "hedgehog/analysis/layer_fidelity.h"

#include "hedgehog/attention/attention_weights.h"
#include "hedgehog/evaluation/correlation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

namespace hedgehog {
namespace {

constexpr std::int64_t kRows = 128;     // query rows of a sequence whose weights are looked at
constexpr std::int64_t kRankRows = 16;  // of these, rows that are ranked: sorting costs more than all the rest

/// `count` of the positions 0..length−1 with equal steps, the last one among them.
std::vector<std::int64_t> spread(std::int64_t length, std::int64_t count) {
  count = std::min(count, length);
  std::vector<std::int64_t> rows(count);
  for (std::int64_t i = 0; i < count; ++i) rows[i] = (i + 1) * length / count - 1;
  return rows;
}

/// −Σ_j w_j log u_j per row; u below the smallest float counts as that: a feature map that gives 0 must not make the mean
/// infinite.
at::Tensor cross_entropy(const at::Tensor& w, const at::Tensor& u) {
  return -(w * u.clamp_min(std::numeric_limits<float>::min()).log()).sum(-1);
}

/// The keys that a row sees: [first, end).
std::pair<std::int64_t, std::int64_t> seen_keys(const AttentionInput& input, bool causal, std::int64_t batch,
                                                std::int64_t row) {
  const std::int64_t first = input.segment_start.defined() ? input.segment_start[batch][row].item<std::int32_t>() : 0;
  if (causal) return {first, row + 1};
  const std::int64_t length = input.k.size(2);
  return {first, input.key_count.defined() ? input.key_count[batch].item<std::int64_t>() : length};
}

/// exp(entropy of σ / Σσ) of the matrices [..., F, D]; 0 of a matrix of zeros.
at::Tensor effective_rank(const at::Tensor& matrices) {
  const at::Tensor values = at::linalg_svdvals(matrices), sum = values.sum(-1, true);
  const at::Tensor shares = values / sum.clamp_min(std::numeric_limits<double>::min());
  return cross_entropy(shares, shares).exp() * sum.squeeze(-1).gt(0);
}

}  // namespace

AttentionConfig softmax_like(const Attention& attention, std::int64_t window) {
  AttentionConfig config;
  config.causal = attention.config().causal;
  config.window = window;
  return config;
}

LayerFidelity::LayerFidelity(std::int64_t layer, const Attention& attention, std::int64_t softmax_window)
    : layer_(layer), attention_(attention), softmax_(attention.with_config(softmax_like(attention, softmax_window))) {}

void LayerFidelity::add_ranks(const AttentionInput& input, const at::Tensor& weights, const std::vector<std::int64_t>& rows) {
  const std::int64_t heads = input.q.size(1), group = heads / input.k.size(1);
  const std::vector<std::int64_t> ranked = spread(static_cast<std::int64_t>(rows.size()), kRankRows);
  for (std::int64_t batch = 0; batch < input.q.size(0); ++batch) {
    for (const std::int64_t r : ranked) {
      const std::int64_t row = rows[r];
      const auto [first, end] = seen_keys(input, attention_.config().causal, batch, row);
      const std::int64_t keys = end - first;
      if (keys < 3 || row >= end) continue;                                                    // so few keys say nothing
      const at::Tensor k = input.k[batch].narrow(1, first, keys).to(at::kDouble);              // [G, keys, D]
      const at::Tensor q = input.q[batch].select(1, row).to(at::kDouble);                      // [H, D]
      const at::Tensor scores = at::matmul(k, q.view({-1, group, q.size(1)}).transpose(1, 2))  // [G, keys, H/G]
                                    .transpose(1, 2)
                                    .reshape({heads, keys})
                                    .contiguous();
      const at::Tensor w = weights[batch].select(1, r).narrow(1, first, keys).contiguous();  // [H, keys]
      at::parallel_for(0, heads, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t head = begin; head < end; ++head) {
          const auto size = static_cast<std::size_t>(keys);
          const std::span<const double> weight(w.const_data_ptr<double>() + head * keys, size);
          const std::span<const double> score(scores.const_data_ptr<double>() + head * keys, size);
          sums_[head].monotonicity += spearman(weight, score);
          sums_[head].inverted_pairs += inverted_pairs(weight, score);
        }
      });
      ++ranked_rows_;
    }
  }
}

void LayerFidelity::add_curve(const OperatorInput& input, const at::Tensor& p, const at::Tensor& a,
                              const std::vector<std::int64_t>& rows, const at::Tensor& counts) {
  const std::int64_t heads = input.q.size(1);
  const at::Tensor row = at::tensor(rows, at::kLong);
  const at::Tensor visible = visible_keys(input, row);
  const at::Tensor scores = at::matmul(input.q.to(at::kDouble).index_select(2, row),
                                       to_query_heads(input.k.to(at::kDouble), heads).transpose(-1, -2)) /
                            std::sqrt(static_cast<double>(input.q.size(3)));
  const at::Tensor top = scores.masked_fill(visible.logical_not(), -std::numeric_limits<double>::infinity()).amax(-1, true);
  const at::Tensor bin = ((top - scores) / kCurveStep).clamp(0, kCurveBins - 1).to(at::kLong);
  const at::Tensor counted = visible.to(at::kDouble) * counts.unsqueeze(-1);  // [batch, 1, rows, length]
  const auto by_bin = [&](const at::Tensor& x) {                              // to [heads, bins]
    const auto flat = [&](const at::Tensor& y) { return y.transpose(0, 1).reshape({heads, -1}); };
    return at::zeros({heads, static_cast<std::int64_t>(kCurveBins)}, at::kDouble)
        .scatter_add_(1, flat(bin), flat((x * counted).expand_as(bin)));
  };
  const at::Tensor keys = by_bin(at::ones_like(scores)), softmax = by_bin(p), linear = by_bin(a);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::size_t i = 0; i < kCurveBins; ++i) {
      const auto at_bin = [&](const at::Tensor& x) { return x.const_data_ptr<double>()[head * kCurveBins + i]; };
      CurveBin& sum = sums_[head].curve[i];
      sum.keys += at_bin(keys);
      sum.softmax += at_bin(softmax);
      sum.linear += at_bin(linear);
    }
  }
}

// What the last row's linear keys leave in the state.
void LayerFidelity::add_ranks_of_states(const OperatorInput& input) {
  const std::int64_t length = input.k.size(2), heads = input.q.size(1);
  for (std::int64_t batch = 0; batch < input.k.size(0); ++batch) {
    std::int64_t first = 0, end = length;
    if (input.key_count.defined()) end = input.key_count[batch].item<std::int64_t>();
    if (end == 0) continue;
    if (input.segment_start.defined()) first = input.segment_start[batch][end - 1].item<std::int64_t>();
    if (input.causal) {
      first += input.sinks;
      end -= input.window;
    }
    ++states_;
    if (first >= end) continue;
    at::Tensor phi = input.phi_k[batch].to(at::kDouble);
    if (input.log_gate.defined()) {
      const at::Tensor sum = input.log_gate[batch].to(at::kDouble).cumsum(-1);
      phi = phi * (sum.select(-1, end - 1).unsqueeze(-1) - sum).clamp_max(0).exp().unsqueeze(-1);
    }
    const at::Tensor state = at::matmul(phi.narrow(1, first, end - first).transpose(1, 2),
                                        input.v[batch].to(at::kDouble).narrow(1, first, end - first));
    const at::Tensor rank = effective_rank(state).repeat_interleave(heads / state.size(0)).contiguous();
    for (std::int64_t head = 0; head < heads; ++head) sums_[head].effective_rank += rank.const_data_ptr<double>()[head];
  }
}

void LayerFidelity::add(const AttentionInput& input) {
  const std::int64_t heads = input.q.size(1), group = heads / input.k.size(1);
  if (sums_.empty()) {
    sums_.resize(heads);
    error_.resize(heads);
    norm_.resize(heads);
  }
  const std::vector<std::int64_t> rows = spread(input.q.size(2), kRows);
  const OperatorInput softmax = softmax_.operator_input(input);
  const at::Tensor p = operator_weights(softmax, rows).weights;  // fp64 [batch, heads, rows, length]
  const OperatorInput given = attention_.operator_input(input);
  const auto [a, linear_part, log_sum] = attention_weights(attention_, input, rows);
  // Rows of padding are no rows.
  at::Tensor counts = at::ones({input.q.size(0), 1, std::ssize(rows)}, at::kDouble);
  const at::Tensor position = at::tensor(rows, at::kLong);
  if (input.key_count.defined()) {
    counts = position.lt(input.key_count.to(at::kLong).unsqueeze(-1)).unsqueeze(1).to(at::kDouble);
  }
  // [batch, heads, rows] to [heads]
  const auto per_head = [&](const at::Tensor& x) { return (x * counts).sum(at::IntArrayRef{0, 2}).contiguous(); };
  const auto add = [&](double HeadFidelity::*value, const at::Tensor& x) {
    const at::Tensor sum = per_head(x);
    for (std::int64_t head = 0; head < heads; ++head) sums_[head].*value += sum.const_data_ptr<double>()[head];
  };
  const at::Tensor entropy = cross_entropy(p, p);
  add(&HeadFidelity::entropy_softmax, entropy);
  add(&HeadFidelity::entropy_linear, cross_entropy(a, a));
  add(&HeadFidelity::kl, cross_entropy(p, a) - entropy);
  add(&HeadFidelity::linear_share, linear_part);
  add(&HeadFidelity::log_denominator, log_sum.clamp_min(std::log(std::numeric_limits<float>::min())));
  const at::Tensor distance = (position.unsqueeze(1) - at::arange(input.k.size(2), at::kLong)).abs();  // [rows, length]
  const auto within = [&](std::int64_t tokens, const at::Tensor& weights) { return (weights * distance.lt(tokens)).sum(-1); };
  add(&HeadFidelity::mass_16_softmax, within(16, p));
  add(&HeadFidelity::mass_16_linear, within(16, a));
  add(&HeadFidelity::mass_64_softmax, within(64, p));
  add(&HeadFidelity::mass_64_linear, within(64, a));
  add(&HeadFidelity::mass_256_softmax, within(256, p));
  add(&HeadFidelity::mass_256_linear, within(256, a));
  const at::Tensor v = input.v.to(at::kDouble).repeat_interleave(group, 1);
  const at::Tensor y = at::matmul(p, v);
  const at::Tensor error = per_head((at::matmul(a, v) - y).square().sum(-1)), norm = per_head(y.square().sum(-1));
  for (std::int64_t head = 0; head < heads; ++head) {
    error_[head] += error.const_data_ptr<double>()[head];
    norm_[head] += norm.const_data_ptr<double>()[head];
  }
  rows_ += counts.sum().item<double>();
  add_ranks(input, a, rows);
  add_curve(softmax, p, a, rows, counts);
  if (given.phi_k.defined()) add_ranks_of_states(given);
}

std::vector<HeadFidelity> LayerFidelity::heads() const {
  std::vector<HeadFidelity> result = sums_;
  std::vector<bool> kept(result.size());  // heads that stay softmax have no state
  if (const at::Tensor& heads = attention_.softmax_heads(); heads.defined()) {
    for (std::int64_t i = 0; i < heads.numel(); ++i) kept[static_cast<std::size_t>(heads[i].item<std::int64_t>())] = true;
  }
  for (std::size_t head = 0; head < result.size(); ++head) {
    HeadFidelity& mean = result[head];
    mean.layer = layer_;
    mean.head = static_cast<std::int64_t>(head);
    const double monotonicity = mean.monotonicity, inverted = mean.inverted_pairs, rank = mean.effective_rank;
    for (const auto& [name, value] : kHeadMeasures) mean.*value /= rows_;
    mean.monotonicity = monotonicity / std::max(ranked_rows_, 1.0);
    mean.inverted_pairs = inverted / std::max(ranked_rows_, 1.0);
    mean.effective_rank = states_ > 0 && !kept[head] ? rank / states_ : std::numeric_limits<double>::quiet_NaN();
    mean.output_error = norm_[head] > 0 ? error_[head] / norm_[head] : 0.0;
    for (CurveBin& bin : mean.curve) {
      bin.softmax /= std::max(bin.keys, 1.0);
      bin.linear /= std::max(bin.keys, 1.0);
    }
  }
  return result;
}

}  // namespace hedgehog
