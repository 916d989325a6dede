// See attention_row.h.
#include "hedgehog/kernels/cpu/attention_row.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/attention_row.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/attention_tile-inl.h"
#include "hedgehog/kernels/cpu/element-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// One key/value head. Number: of q, k, v.
template <typename Number>
class RowForward {
 public:
  RowForward(const AttentionArguments& a, const MutableRows& out, float* row_max, float* inverse_sum, std::int64_t b,
             std::int64_t g)
      : a_(a),
        s_(a.shape),
        out_(out),
        row_max_(row_max),
        inverse_sum_(inverse_sum),
        group_(s_.heads / s_.kv_heads),
        decay_memory_(a.log_gate == nullptr ? 1 : s_.length),
        head_(a, b, g, decay_memory_.get()),
        weights_(a.prefix_rows + s_.length),
        sums_(group_ * (s_.dim + 1)),
        factors_(group_),
        row_(s_.dim + 1) {}

  void run(float* state_out, std::int64_t absorb_end) {
    for (std::int64_t n = 0; n < group_; ++n) attend(n);
    if (s_.features > 0 && (a_.state_in != nullptr || state_out != nullptr)) pass_state(state_out, absorb_end);
    for (std::int64_t n = 0; n < group_; ++n) {
      const float* sums = sums_.get() + n * (s_.dim + 1);
      const float inverse = inverse_or_zero(sums[s_.dim]);
      inverse_sum_[at(n)] = inverse;
      write_row(sums, s_.dim, inverse, out_, head_.b, h(n), 0);
    }
  }

 private:
  std::int64_t h(std::int64_t n) const { return head_.g * group_ + n; }
  std::int64_t at(std::int64_t n) const { return head_.b * s_.heads + h(n); }

  // sums := Σ_j w_j [v_j, 1] over the keys that are at hand; factors: what φ(q) S is multiplied by.
  void attend(std::int64_t n) {
    const std::int64_t i = s_.length - 1, prefix = a_.prefix_rows;
    const bool all = all_keys_exact(s_);
    // Keys [0, sinks) and [window_begin, i] are exact, those between are linear.
    const std::int64_t sinks = all ? s_.length : least(s_.sinks, s_.length);
    const std::int64_t window_begin = all ? s_.length : clamp(i - s_.window + 1, sinks, s_.length);
    const Number* q = nullptr;
    if (prefix > 0 || sinks > 0 || window_begin < s_.length) q = a_.q.at<Number>(head_.b, h(n));
    float* weights = weights_.get() + prefix;
    const bool linear = s_.features > 0 && (a_.state_in != nullptr || window_begin > sinks);
    const float log_scale = a_.row_log_scale == nullptr ? 0 : a_.row_log_scale[at(n)];
    float top = linear ? log_scale : -3.0e38f;
    const auto score = [&](const Rows& k, std::int64_t begin, std::int64_t end, float* to) {
      for (std::int64_t j = begin; j < end; ++j) {
        to[j] = s_.scale * dot_of(q, k.at<Number>(head_.b, head_.g, j), s_.dim);
        top = to[j] > top ? to[j] : top;
      }
    };
    score(a_.prefix_k, 0, prefix, weights_.get());
    score(a_.k, 0, sinks, weights);
    score(a_.k, window_begin, s_.length, weights);
    row_max_[at(n)] = top;
    float sum = 0;
    const auto exact = [&](float* x, std::int64_t count) { sum += exponentials(x, count, top, 1, x); };
    exact(weights_.get(), prefix);
    exact(weights, sinks);
    exact(weights + window_begin, s_.length - window_begin);
    const float factor = std::exp(log_scale - top);
    for (std::int64_t j = sinks; j < window_begin; ++j) {
      weights[j] = 0;
      if (s_.features == 0) continue;
      weights[j] = factor * std::exp(head_.decay_between(j, i)) *
                   dot_of(a_.phi_q.at(head_.b, h(n)), head_.phi_k + j * head_.phi_k_row, s_.features);
      sum += weights[j];
    }
    factors_.get()[n] = a_.state_in != nullptr ? factor * std::exp(head_.decay_between(-1, i)) : 0;
    float* sums = sums_.get() + n * (s_.dim + 1);
    fill_row(0, s_.dim, sums);
    for (std::int64_t j = 0; j < prefix; ++j) {
      add_row(a_.prefix_v.at<Number>(head_.b, head_.g, j), s_.dim, weights_.get()[j], sums);
    }
    for (std::int64_t j = 0; j < s_.length; ++j) add_row(a_.v.at<Number>(head_.b, head_.g, j), s_.dim, weights[j], sums);
    sums[s_.dim] = sum;
  }

  // sums += factor · φ(q) S of every head, and S moved on past the non-sink keys before absorb_end; each row of S once.
  void pass_state(float* state_out, std::int64_t absorb_end) {
    const std::int64_t width = s_.dim + 1;
    const std::int64_t offset = (head_.b * s_.kv_heads + head_.g) * s_.features * width;
    const std::int64_t first = least(s_.sinks, absorb_end);
    const float carry = std::exp(head_.decay_between(-1, absorb_end - 1));
    for (std::int64_t f = 0; f < s_.features; ++f) {
      float* row = row_.get();
      if (a_.state_in != nullptr) {
        const float* from = a_.state_in + offset + f * width;
        for (std::int64_t n = 0; n < group_; ++n) {
          const float weight = factors_.get()[n] * a_.phi_q.at(head_.b, h(n))[f];
          scale_row(from, width, weight, true, sums_.get() + n * width);
        }
        scale_row(from, width, carry, false, row);
      } else {
        fill_row(0, width, row);
      }
      if (state_out == nullptr) continue;
      for (std::int64_t j = first; j < absorb_end; ++j) {
        const float weight = std::exp(head_.decay_between(j, absorb_end - 1)) * head_.phi_k[j * head_.phi_k_row + f];
        add_row(a_.v.at<Number>(head_.b, head_.g, j), s_.dim, weight, row);
        row[s_.dim] += weight;
      }
      scale_row(row, width, 1, false, state_out + offset + f * width);
    }
  }

  const AttentionArguments& a_;
  const AttentionShape& s_;
  const MutableRows& out_;
  float *row_max_, *inverse_sum_;
  std::int64_t group_;
  Buffer<double> decay_memory_;
  KeyHead head_;
  Buffer<float> weights_, sums_, factors_, row_;
};

void row_forward(const AttentionArguments& a, const MutableRows& out, float* row_max, float* inverse_sum, float* state_out,
                 std::int64_t absorb_end, std::int64_t b, std::int64_t g) {
  if (a.k.element == Element::kBfloat16) {
    RowForward<std::uint16_t>(a, out, row_max, inverse_sum, b, g).run(state_out, absorb_end);
  } else {
    RowForward<float>(a, out, row_max, inverse_sum, b, g).run(state_out, absorb_end);
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hedgehog::kernels {

HWY_EXPORT(row_forward);

void attention_row(const AttentionArguments& arguments, const MutableRows& out, float* row_max, float* inverse_sum,
                   float* state_out, std::int64_t absorb_end, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  parallel_for(s.batch * s.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      HEDGEHOG_DISPATCH(row_forward)
      (arguments, out, row_max, inverse_sum, state_out, absorb_end, task / s.kv_heads, task % s.kv_heads);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
