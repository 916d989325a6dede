// See attention_row.h.
#include "hedgehog/kernels/cpu/attention_row.h"

#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_row.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/activation-inl.h"
#include "hedgehog/kernels/cpu/attention_tile-inl.h"
#include "hedgehog/kernels/cpu/element-inl.h"
#include "hedgehog/kernels/cpu/state_step-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// φ of rows [begin, end) of [B · count] rows, `count` from row `first` on of each sequence's head `head`, to [B, heads, count,
// F].
template <typename Number>
void map_rows(const FeatureMap& map, const float* weight, const float* bias, const Rows& x, std::int64_t dim, std::int64_t head,
              std::int64_t heads, std::int64_t first, std::int64_t count, std::int64_t begin, std::int64_t end, float* to) {
  const std::int64_t width = map.width, rows = end - begin;
  Buffer<float> transposed(dim * width), input(rows * dim), u(rows * width);
  transpose(width, dim, weight + head * width * dim, dim, transposed.get(), width);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t b = (begin + r) / count, j = first + (begin + r) % count;
    over(dim, [&](auto d, std::int64_t i) { hn::StoreU(load(d, x.at<Number>(b, head, j) + i), d, input.get() + r * dim + i); });
  }
  gemm(rows, width, dim, input.get(), dim, 1, transposed.get(), width, u.get(), width, Store::kOverwrite);
  add_bias(bias == nullptr ? nullptr : bias + head * width, rows, width, u.get(), width);
  // Rows whose features lie a constant step apart: those of one sequence, or, with a row of each, all.
  for (std::int64_t r = 0, run = 0; r < rows; r += run) {
    const std::int64_t b = (begin + r) / count, j = (begin + r) % count;
    run = count == 1 ? rows : least(rows - r, count - j);
    activate_rows<FullMath>(map.activation, run, width, u.get() + r * width, width, nullptr,
                            to + ((b * heads + head) * count + j) * 2 * width, (count == 1 ? heads : 1) * 2 * width, nullptr);
  }
}

// Rows [begin, end) of one head, of all query heads and then all key/value heads.
void features_of_head(const RowCall& call, std::int64_t head, std::int64_t begin, std::int64_t end, float* phi_q,
                      float* phi_k) {
  const AttentionArguments& a = call.arguments;
  const AttentionShape& s = a.shape;
  const FeatureMap& m = a.map;
  const auto map = a.k.element == Element::kBfloat16 ? map_rows<std::uint16_t> : map_rows<float>;
  if (head < s.heads) {
    map(m, m.q_weight, m.q_bias, a.q, s.dim, head, s.heads, 0, 1, begin, end, phi_q);
  } else {
    map(m, m.k_weight, m.k_bias, a.k, s.dim, head - s.heads, s.kv_heads, call.first_key, call.keys, begin, end, phi_k);
  }
}

// Key/value heads one after the other. Number: of q, k, v. StateNumber: of S.
template <typename Number, typename StateNumber>
class RowForward {
 public:
  explicit RowForward(const RowCall& call)
      : call_(call),
        a_(call.arguments),
        s_(a_.shape),
        state_out_(call.state_out),
        first_absorbed_(least(s_.sinks, call.absorb_end)),
        absorb_end_(call.absorb_end),
        group_(s_.heads / s_.kv_heads),
        decay_memory_(a_.log_gate == nullptr ? 1 : s_.length),
        weights_(a_.prefix_rows + s_.length),
        sums_(group_ * s_.dim),
        totals_(group_),
        factors_(group_),
        state_weights_(s_.features * group_),
        key_features_(s_.features * absorbed()),
        values_(s_.dim * absorbed()),
        step_(s_.features, s_.dim, group_) {}

  void run(std::int64_t b, std::int64_t g) {
    const KeyHead head(a_, b, g, decay_memory_.get());
    for (std::int64_t n = 0; n < group_; ++n) attend(head, n);
    if (s_.features > 0 && (a_.state_in || state_out_)) pass_state(head);
    for (std::int64_t n = 0; n < group_; ++n) {
      const float inverse = inverse_or_zero(totals_.get()[n]);
      if (call_.inverse_sum != nullptr) call_.inverse_sum[at(head, n)] = inverse;
      write_row(sums_.get() + n * s_.dim, s_.dim, inverse, call_.out, b, h(head, n), 0);
    }
  }

 private:
  std::int64_t h(const KeyHead& head, std::int64_t n) const { return head.g * group_ + n; }
  std::int64_t at(const KeyHead& head, std::int64_t n) const { return head.b * s_.heads + h(head, n); }
  std::int64_t absorbed() const { return absorb_end_ - first_absorbed_; }
  const float* phi_q(const KeyHead& head, std::int64_t n) const { return call_.phi_q.at(head.b, h(head, n)); }
  const float* phi_k(const KeyHead& head, std::int64_t j) const { return call_.phi_k.at(head.b, head.g, j - call_.first_key); }

  // sums := Σ_j w_j v_j and totals := Σ_j w_j over the keys that are at hand; factors: what φ(q) S is multiplied by.
  void attend(const KeyHead& head, std::int64_t n) {
    const std::int64_t i = s_.length - 1, prefix = a_.prefix_rows;
    const bool all = all_keys_exact(s_);
    // Keys [0, sinks) and [window_begin, i] are exact, those between are linear.
    const std::int64_t sinks = all ? s_.length : least(s_.sinks, s_.length);
    const std::int64_t window_begin = all ? s_.length : clamp(i - s_.window + 1, sinks, s_.length);
    const Number* q = nullptr;
    if (prefix > 0 || sinks > 0 || window_begin < s_.length) q = a_.q.at<Number>(head.b, h(head, n));
    float* weights = weights_.get() + prefix;
    const bool linear = s_.features > 0 && (a_.state_in || window_begin > sinks);
    const float log_scale = a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[at(head, n)];
    float top = linear ? log_scale : -3.0e38f;
    const auto score = [&](const Rows& k, std::int64_t begin, std::int64_t end, float* to) {
      for (std::int64_t j = begin; j < end; ++j) {
        to[j] = s_.scale * dot_of(q, k.at<Number>(head.b, head.g, j), s_.dim);
        top = to[j] > top ? to[j] : top;
      }
    };
    score(a_.prefix_k, 0, prefix, weights_.get());
    score(a_.k, 0, sinks, weights);
    score(a_.k, window_begin, s_.length, weights);
    if (call_.row_max != nullptr) call_.row_max[at(head, n)] = top;
    float sum = 0;
    const auto exact = [&](float* x, std::int64_t count) { sum += exponentials(x, count, 1, top, x); };
    exact(weights_.get(), prefix);
    exact(weights, sinks);
    exact(weights + window_begin, s_.length - window_begin);
    const float factor = std::exp(log_scale - top);
    for (std::int64_t j = sinks; j < window_begin; ++j) {
      weights[j] = 0;
      if (s_.features == 0) continue;
      weights[j] = factor * std::exp(head.decay_between(j, i)) * dot_of(phi_q(head, n), phi_k(head, j), s_.features);
      sum += weights[j];
    }
    factors_.get()[n] = a_.state_in ? factor * std::exp(head.decay_between(-1, i)) : 0;
    float* sums = sums_.get() + n * s_.dim;
    fill_row(0, s_.dim, sums);
    for (std::int64_t j = 0; j < prefix; ++j) {
      add_row(a_.prefix_v.at<Number>(head.b, head.g, j), s_.dim, weights_.get()[j], sums);
    }
    for (std::int64_t j = 0; j < s_.length; ++j) add_row(a_.v.at<Number>(head.b, head.g, j), s_.dim, weights[j], sums);
    totals_.get()[n] = sum;
  }

  // sums += factor · φ(q) S, totals += factor · φ(q)·z of every head, and the state moved on past the non-sink keys before
  // absorb_end.
  void pass_state(const KeyHead& head) {
    const std::int64_t features = s_.features, dim = s_.dim, keys = state_out_ ? absorbed() : 0;
    const std::int64_t first_row = (head.b * s_.kv_heads + head.g) * features;
    const auto part = [&](const LinearState& state) {
      return LinearState{state ? static_cast<StateNumber*>(state.s) + first_row * dim : nullptr, state.element,
                         state.scale == nullptr ? nullptr : state.scale + first_row, state ? state.z + first_row : nullptr};
    };
    const LinearState to = part(state_out_), from = a_.state_in ? part(a_.state_in) : to;
    if (!a_.state_in) clear(to);
    for (std::int64_t n = 0; n < group_; ++n) {
      const float factor = factors_.get()[n];
      const float* phi = phi_q(head, n);
      totals_.get()[n] += factor * dot(phi, from.z, features);
      scale_row(phi, features, factor, false, state_weights_.get() + n * features);
    }
    const float carry = std::exp(head.decay_between(-1, absorb_end_ - 1));
    if (to) scale_row(from.z, features, carry, false, to.z);
    for (std::int64_t j = 0; j < keys; ++j) {
      const std::int64_t key = first_absorbed_ + j;
      const float weight = std::exp(head.decay_between(key, absorb_end_ - 1));
      const float* phi = phi_k(head, key);
      scale_row(phi, features, weight, true, to.z);
      scale_row(phi, features, weight, false, key_features_.get() + j * features);
      fill_row(0, dim, values_.get() + j * dim);
      add_row(a_.v.at<Number>(head.b, head.g, key), dim, 1, values_.get() + j * dim);
    }
    const HeadStep step{features,
                        dim,
                        group_,
                        keys,
                        state_weights_.get(),
                        sums_.get(),
                        dim,
                        carry,
                        key_features_.get(),
                        values_.get(),
                        call_.rounding.columns(head.g),
                        call_.rounding.rows(head.g)};
    step_.run(step, static_cast<const StateNumber*>(from.s), from.scale, static_cast<StateNumber*>(to.s), to.scale);
  }

  void clear(const LinearState& state) const {
    const auto rows = static_cast<std::size_t>(s_.features);
    std::memset(state.s, 0, rows * static_cast<std::size_t>(s_.dim) * sizeof(StateNumber));
    std::memset(state.z, 0, rows * sizeof(float));
    if (state.scale != nullptr) std::memset(state.scale, 0, rows * sizeof(float));
  }

  const RowCall& call_;
  const AttentionArguments& a_;
  const AttentionShape& s_;
  const LinearState& state_out_;
  std::int64_t first_absorbed_, absorb_end_, group_;
  Buffer<double> decay_memory_;
  Buffer<float> weights_, sums_, totals_, factors_, state_weights_, key_features_, values_;
  StateStep<StateNumber> step_;
};

template <typename Number, typename StateNumber>
void rows_forward_of(const RowCall& call, std::int64_t begin, std::int64_t end) {
  RowForward<Number, StateNumber> row(call);
  const std::int64_t kv_heads = call.arguments.shape.kv_heads;
  for (std::int64_t head = begin; head < end; ++head) row.run(head / kv_heads, head % kv_heads);
}

template <typename Number>
void rows_forward_with(const RowCall& call, std::int64_t begin, std::int64_t end) {
  switch (call.state_out ? call.state_out.element : call.arguments.state_in.element) {
    case StateElement::kFloat32:
      return rows_forward_of<Number, float>(call, begin, end);
    case StateElement::kBfloat16:
      return rows_forward_of<Number, std::uint16_t>(call, begin, end);
    case StateElement::kInt8:
      return rows_forward_of<Number, std::int8_t>(call, begin, end);
  }
}

// Key/value heads [begin, end) of [B · G].
void rows_forward(const RowCall& call, std::int64_t begin, std::int64_t end) {
  if (call.arguments.k.element == Element::kBfloat16) return rows_forward_with<std::uint16_t>(call, begin, end);
  rows_forward_with<float>(call, begin, end);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>
#include <memory>

namespace hedgehog::kernels {

HWY_EXPORT(features_of_head);
HWY_EXPORT(rows_forward);

// Rows that share one transposed map.
constexpr std::int64_t kMappedRows = 32;

void attention_row(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                   const LinearState& state_out, std::int64_t absorb_end, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  const RoundingBits rounding(s, state_out ? state_out.element : StateElement::kFloat32, arguments.rounding_seed);
  RowCall call{arguments,       out, row_max, inverse_sum, state_out, absorb_end, rounding, arguments.phi_q,
               arguments.phi_k, 0,   s.length};
  std::unique_ptr<float[]> features;
  if (arguments.map.width > 0) {
    // Of the keys, those that are linear or go into the state.
    const std::int64_t first = std::min(s.sinks, s.length), exact = std::min(s.window, s.length);
    const std::int64_t keys = std::max<std::int64_t>(0, std::max(s.length - exact, absorb_end) - first);
    features.reset(new float[static_cast<std::size_t>(s.batch * (s.heads + s.kv_heads * keys) * s.features)]);
    float *phi_q = features.get(), *phi_k = phi_q + s.batch * s.heads * s.features;
    call.phi_q = {phi_q, s.heads * s.features, s.features, s.features};
    call.phi_k = {phi_k, s.kv_heads * keys * s.features, keys * s.features, s.features};
    call.first_key = first;
    call.keys = keys;
    const std::int64_t q_tasks = (s.batch + kMappedRows - 1) / kMappedRows;
    const std::int64_t k_tasks = (s.batch * keys + kMappedRows - 1) / kMappedRows;
    parallel_for(s.heads * q_tasks + s.kv_heads * k_tasks, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t task = begin; task < end; ++task) {
        const bool of_query = task < s.heads * q_tasks;
        const std::int64_t n = of_query ? task : task - s.heads * q_tasks, tasks = of_query ? q_tasks : k_tasks;
        const std::int64_t row = n % tasks * kMappedRows, rows = of_query ? s.batch : s.batch * keys;
        HEDGEHOG_DISPATCH(features_of_head)
        (call, n / tasks + (of_query ? 0 : s.heads), row, std::min(row + kMappedRows, rows), phi_q, phi_k);
      }
    });
  }
  parallel_for(s.batch * s.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    HEDGEHOG_DISPATCH(rows_forward)(call, begin, end);
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
