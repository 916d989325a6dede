// The weights' cross-entropy of kernels/attention.h: exact softmax rows of one tile of queries at a time beside this
// attention's rows, the loss, and its gradient for the feature products, d(−Σ_j p_ij log a_ij) / d(φ(q_i)·φ(k_j)) = (a_ij −
// p_ij) / φ(q_i)·φ(k_j).
#include "hedgehog/kernels/attention.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/distillation.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A weight below this counts as this in the loss and pulls no further: the logarithm stays finite for maps that give exact
// zeros.
constexpr float kLeastWeight = 1e-12f;

struct RowLoss {
  float cross_entropy, entropy;
};

// One row's columns, relative to the strip: [begin, end) visible, of these [linear_begin, linear_end) linear, teacher sees
// [teacher_begin, end).
struct DistillationRow {
  std::int64_t begin, linear_begin, linear_end, end, teacher_begin;
  float log_scale, own_decay, gradient_scale;
  const float* key_decay;  // a_j, or null
};

// scores: scaled q·k on entry. products: φ(q)·φ(k) on entry, the loss's gradient for them on exit (0 outside the linear
// columns).
inline RowLoss distil_row(const DistillationRow& row, std::int64_t columns, const float* scores, float* products) {
  const FloatTag d;
  const std::int64_t linear_count = row.linear_end - row.linear_begin;
  const float teacher_top = row_maximum(scores + row.teacher_begin, row.end - row.teacher_begin, -3.0e38f);
  float top = linear_count > 0 ? row.log_scale : -3.0e38f;
  top = row_maximum(scores + row.begin, row.linear_begin - row.begin, top);
  top = row_maximum(scores + row.linear_end, row.end - row.linear_end, top);

  auto teacher_total = hn::Zero(d), teacher_scores = hn::Zero(d);
  over_row(row.end - row.teacher_begin, [&](std::int64_t j, auto valid, bool whole) {
    const auto score = load_row(scores + row.teacher_begin + j, valid, whole);
    const auto centred = hn::Sub(score, hn::Set(d, teacher_top));
    const auto weight = hn::IfThenElseZero(valid, exponential(centred));
    teacher_total = hn::Add(teacher_total, weight);
    teacher_scores = hn::MulAdd(weight, centred, teacher_scores);
  });
  const float teacher_sum = sum_lanes(teacher_total), teacher_inverse = 1 / teacher_sum;
  // H(p) = log Σ e^{s−top} − Σ p (s − top)
  const float entropy = std::log(teacher_sum) - sum_lanes(teacher_scores) * teacher_inverse;

  const float factor = linear_count > 0 ? std::exp(row.log_scale - top) : 0;
  auto total = hn::Zero(d);
  const auto add_exact = [&](std::int64_t begin, std::int64_t end) {
    over_row(end - begin, [&](std::int64_t j, auto valid, bool whole) {
      const auto weight = exponential(hn::Sub(load_row(scores + begin + j, valid, whole), hn::Set(d, top)));
      total = hn::Add(total, hn::IfThenElseZero(valid, weight));
    });
  };
  add_exact(row.begin, row.linear_begin);
  add_exact(row.linear_end, row.end);
  const float* keys = row.key_decay == nullptr ? nullptr : row.key_decay + row.linear_begin;
  over_row(linear_count, [&](std::int64_t j, auto valid, bool whole) {
    const auto weight =
        hn::Mul(load_row(products + row.linear_begin + j, valid, whole), decay(keys, row.own_decay, j, valid, whole));
    total = hn::Add(total, hn::IfThenElseZero(valid, hn::Mul(hn::Set(d, factor), weight)));
  });
  const float sum = sum_lanes(total), inverse = inverse_or_zero(sum);
  const float log_sum = inverse > 0 ? std::log(sum) : 0;

  // Σ_j p_ij over a column range, and −Σ_j p_ij log a_ij, for exact keys: log a = s − top − log Σ.
  auto loss = hn::Zero(d);
  const auto lose_exact = [&](std::int64_t begin, std::int64_t end) {
    begin = most(begin, row.teacher_begin);
    over_row(most(0, end - begin), [&](std::int64_t j, auto valid, bool whole) {
      const auto score = load_row(scores + begin + j, valid, whole);
      const auto p = hn::Mul(exponential(hn::Sub(score, hn::Set(d, teacher_top))), hn::Set(d, teacher_inverse));
      const auto log_weight = hn::Max(hn::Sub(score, hn::Set(d, top + log_sum)), hn::Set(d, std::log(kLeastWeight)));
      loss = hn::Sub(loss, hn::IfThenElseZero(valid, hn::Mul(p, log_weight)));
    });
  };
  lose_exact(row.begin, row.linear_begin);
  lose_exact(row.linear_end, row.end);
  over_row(linear_count, [&](std::int64_t j, auto valid, bool whole) {
    const std::int64_t column = row.linear_begin + j;
    const auto product = load_row(products + column, valid, whole);
    const auto slope = hn::Mul(hn::Set(d, factor * inverse), decay(keys, row.own_decay, j, valid, whole));
    const auto weight = hn::Mul(slope, product);
    auto p = hn::Mul(exponential(hn::Sub(load_row(scores + column, valid, whole), hn::Set(d, teacher_top))),
                     hn::Set(d, teacher_inverse));
    if (column < row.teacher_begin) {
      const auto outside = hn::Lt(hn::Iota(d, static_cast<float>(column)), hn::Set(d, static_cast<float>(row.teacher_begin)));
      p = hn::IfThenZeroElse(outside, p);
    }
    const auto floor = hn::Set(d, kLeastWeight);
    const auto above = hn::Gt(weight, floor);
    loss = hn::Sub(loss, hn::IfThenElseZero(valid, hn::Mul(p, hn::Log(d, hn::Max(weight, floor)))));
    const auto pull = hn::IfThenElseZero(above, hn::Div(p, hn::IfThenElse(above, product, hn::Set(d, 1.0f))));
    store_row(hn::Mul(hn::Set(d, row.gradient_scale), hn::Sub(slope, pull)), products + column, valid, whole);
  });
  fill_row(0, row.linear_begin, products);
  fill_row(0, columns - row.linear_end, products + row.linear_end);
  return {sum_lanes(loss), entropy};
}

void distil_head(const AttentionArguments& a, std::int64_t teacher_window, float gradient_scale, float* cross_entropy,
                 float* entropy, const Strided<float>& phi_q_gradient, const Strided<float>& phi_k_gradient, std::int64_t b,
                 std::int64_t h) {
  const AttentionShape& s = a.shape;
  const std::int64_t g = h / (s.heads / s.kv_heads), strip_row = padded(s.length);
  Buffer<double> decay_memory(a.log_gate == nullptr ? 1 : s.length);
  const KeyHead head(a, b, g, decay_memory.get());
  const TransposedKeys keys(s.length, s.dim, a.k.at<float>(b, g), a.k.row);
  const TransposedKeys key_features(s.length, s.features, head.phi_k, head.phi_k_row);
  Buffer<float> scores(kTileRows * strip_row), products(kTileRows * strip_row), relative(s.length);
  const bool wanted = gradient_scale != 0;
  if (wanted) {
    for (std::int64_t j = 0; j < s.length; ++j) fill_row(0, s.features, phi_k_gradient.at(b, h, j));
  }
  for (std::int64_t t0 = 0; t0 < s.length; t0 += kTileRows) {
    const std::int64_t t1 = least(t0 + kTileRows, s.length), rows = t1 - t0, n0 = head.segment_of(t0), columns = t1 - n0;
    gemm(rows, columns, s.dim, a.q.at<float>(b, h, t0), a.q.row, 1, keys.column(n0), keys.stride, scores.get(), strip_row,
         Store::kOverwrite);
    gemm(rows, columns, s.features, a.phi_q.at(b, h, t0), a.phi_q.row, 1, key_features.column(n0), key_features.stride,
         products.get(), strip_row, Store::kOverwrite);
    if (head.decay != nullptr) {
      for (std::int64_t j = n0; j < t1; ++j) relative.get()[j - n0] = head.decay_between(n0 - 1, j);
    }
    for (std::int64_t i = t0; i < t1; ++i) {
      const std::int64_t start = head.segment_of(i), at = (b * s.heads + h) * s.length + i;
      DistillationRow row{};
      row.begin = start - n0;
      row.end = i + 1 - n0;
      row.linear_begin = clamp(start + s.sinks - n0, row.begin, row.end);
      row.linear_end = clamp(i - s.window + 1 - n0, row.linear_begin, row.end);
      row.teacher_begin = teacher_window > 0 ? most(row.begin, i - teacher_window + 1 - n0) : row.begin;
      row.log_scale = a.row_log_scale == nullptr ? 0 : a.row_log_scale[at];
      row.own_decay = head.decay == nullptr ? 0 : relative.get()[i - n0];
      row.key_decay = head.decay == nullptr ? nullptr : relative.get();
      row.gradient_scale = gradient_scale;
      float* row_scores = scores.get() + (i - t0) * strip_row;
      scale_row(row_scores, columns, s.scale, false, row_scores);
      const RowLoss loss = distil_row(row, columns, row_scores, products.get() + (i - t0) * strip_row);
      cross_entropy[at] = loss.cross_entropy;
      entropy[at] = loss.entropy;
    }
    if (wanted) {
      gemm(rows, s.features, columns, products.get(), strip_row, 1, head.phi_k + n0 * head.phi_k_row, head.phi_k_row,
           phi_q_gradient.at(b, h, t0), phi_q_gradient.row, Store::kOverwrite);
      gemm(columns, s.features, rows, products.get(), 1, strip_row, a.phi_q.at(b, h, t0), a.phi_q.row,
           phi_k_gradient.at(b, h, n0), phi_k_gradient.row, Store::kAdd);
    }
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hedgehog::kernels {

HWY_EXPORT(distil_head);

void attention_distillation(const AttentionArguments& arguments, std::int64_t teacher_window, float gradient_scale,
                            float* cross_entropy, float* entropy, Strided<float> phi_q_gradient, Strided<float> phi_k_gradient,
                            const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  parallel_for(s.batch * s.heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      HEDGEHOG_DISPATCH(distil_head)
      (arguments, teacher_window, gradient_scale, cross_entropy, entropy, phi_q_gradient, phi_k_gradient, task / s.heads,
       task % s.heads);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
