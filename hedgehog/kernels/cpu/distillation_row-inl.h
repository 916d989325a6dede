// One row of the weights' distillation: softmax's weights p and this attention's a, −Σ_j p_j log a_j, and its gradient for the
// feature products, d(−Σ_j p_j log a_j) / d(φ(q)·φ(k_j)) = (a_j − p_j) / φ(q)·φ(k_j). Included once per instruction set.
#if defined(HEDGEHOG_KERNELS_CPU_DISTILLATION_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEDGEHOG_KERNELS_CPU_DISTILLATION_ROW_INL_H_
#undef HEDGEHOG_KERNELS_CPU_DISTILLATION_ROW_INL_H_
#else
#define HEDGEHOG_KERNELS_CPU_DISTILLATION_ROW_INL_H_
#endif

#include "hedgehog/kernels/cpu/buffer-inl.h"
#include "hedgehog/kernels/cpu/row_operations-inl.h"

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// A weight below this counts as this in the loss and pulls no further: the logarithm stays finite for maps that give exact
// zeros.
constexpr float kLeastWeight = 1e-12f;

// Columns, relative to the strip: [begin, end) visible, of these [linear_begin, linear_end) linear, teacher sees
// [teacher_begin, end).
struct DistillationRow {
  std::int64_t begin, linear_begin, linear_end, end, teacher_begin;
  float scale, log_scale, own_decay, gradient_scale;
  const float* key_decay;  // a_j, or null
};

struct RowLoss {
  float cross_entropy, entropy;
  float teacher_inverse;  // p_j = teacher_inverse · what is left in the scores
};

// scores: q·k on entry, on exit softmax's weights up to a factor in all `columns`. products: φ(q)·φ(k) on entry; on exit, where
// `wanted`, the loss's gradient for them, 0 outside the linear columns.
inline RowLoss distil_row(const DistillationRow& row, std::int64_t columns, bool wanted, float* scores, float* products) {
  const FloatTag d;
  const std::int64_t linear_count = row.linear_end - row.linear_begin;
  const auto scale = hn::Set(d, row.scale), floor = hn::Set(d, kLeastWeight);
  float top = linear_count > 0 ? row.log_scale : -3.0e38f;
  const auto raise = [&](std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    const float most = row.scale * row_maximum(scores + begin, end - begin, -3.0e38f);
    top = most > top ? most : top;
  };
  raise(row.begin, row.linear_begin);
  raise(row.linear_end, row.end);
  const float teacher_top = row.scale * row_maximum(scores + row.teacher_begin, row.end - row.teacher_begin, -3.0e38f);

  // This attention's sum.
  const float factor = linear_count > 0 ? std::exp(row.log_scale - top) : 0;
  auto total = hn::Zero(d);
  const auto add_exact = [&](std::int64_t begin, std::int64_t end) {
    over_row(end - begin, [&](std::int64_t j, auto valid, bool whole) {
      const auto weight = exponential(hn::MulSub(scale, load_row(scores + begin + j, valid, whole), hn::Set(d, top)));
      total = hn::Add(total, hn::IfThenElseZero(valid, weight));
    });
  };
  add_exact(row.begin, row.linear_begin);
  add_exact(row.linear_end, row.end);
  const float* keys = row.key_decay == nullptr ? nullptr : row.key_decay + row.linear_begin;
  over_row(linear_count, [&](std::int64_t j, auto valid, bool whole) {
    const auto weight =
        hn::Mul(load_row(products + row.linear_begin + j, valid, whole), decay(keys, row.own_decay, j, valid, whole));
    total = hn::MulAdd(hn::Set(d, factor), hn::IfThenElseZero(valid, weight), total);
  });
  const float sum = sum_lanes(total), inverse = inverse_or_zero(sum);
  const float log_sum = inverse > 0 ? std::log(sum) : 0;

  // Softmax's weights e^{s − top}, with Σ, Σ e (s − top) and Σ e log a.
  auto teacher_total = hn::Zero(d), centred_total = hn::Zero(d), log_total = hn::Zero(d);
  const auto teach = [&](std::int64_t begin, std::int64_t end, const auto& log_weight) {
    begin = most(begin, row.teacher_begin);
    over_row(most(0, end - begin), [&](std::int64_t j, auto valid, bool whole) {
      const auto score = hn::Mul(scale, load_row(scores + begin + j, valid, whole));
      const auto centred = hn::Sub(score, hn::Set(d, teacher_top));
      const auto weight = hn::IfThenElseZero(valid, exponential(centred));
      teacher_total = hn::Add(teacher_total, weight);
      centred_total = hn::MulAdd(weight, centred, centred_total);
      log_total = hn::MulAdd(weight, log_weight(begin + j, score, valid, whole), log_total);
      store_row(weight, scores + begin + j, valid, whole);
    });
  };
  const auto log_of_exact = [&](std::int64_t, auto score, auto, bool) {
    return hn::Max(hn::Sub(score, hn::Set(d, top + log_sum)), hn::Set(d, std::log(kLeastWeight)));
  };
  const auto slope = [&](std::int64_t column, auto valid, bool whole) {
    return hn::Mul(hn::Set(d, factor * inverse), decay(keys, row.own_decay, column - row.linear_begin, valid, whole));
  };
  const auto log_of_linear = [&](std::int64_t column, auto, auto valid, bool whole) {
    const auto weight = hn::Mul(slope(column, valid, whole), load_row(products + column, valid, whole));
    return hn::Log(d, hn::Max(weight, floor));
  };
  fill_row(0, row.teacher_begin, scores);
  teach(row.begin, row.linear_begin, log_of_exact);
  teach(row.linear_begin, row.linear_end, log_of_linear);
  teach(row.linear_end, row.end, log_of_exact);
  fill_row(0, columns - row.end, scores + row.end);
  const float teacher_sum = sum_lanes(teacher_total), teacher_inverse = 1 / teacher_sum;
  // H(p) = log Σ e^{s−top} − Σ p (s − top)
  const RowLoss loss{-sum_lanes(log_total) * teacher_inverse,
                     std::log(teacher_sum) - sum_lanes(centred_total) * teacher_inverse, teacher_inverse};
  if (!wanted) return loss;
  const auto gradient_scale = hn::Set(d, row.gradient_scale);
  over_row(linear_count, [&](std::int64_t j, auto valid, bool whole) {
    const std::int64_t column = row.linear_begin + j;
    const auto product = load_row(products + column, valid, whole), of_product = slope(column, valid, whole);
    const auto p = hn::Mul(hn::Set(d, teacher_inverse), load_row(scores + column, valid, whole));
    // A row whose features hardly meet any key's is pulled on, as far as products are numbers.
    const auto pulled = inverse != 0 ? hn::Gt(hn::Mul(of_product, product), floor) : hn::Gt(product, hn::Zero(d));
    const auto divisor = hn::CopySign(hn::Max(hn::Abs(product), hn::Set(d, kLeastSum)), product);
    const auto pull = hn::IfThenElseZero(pulled, hn::Div(p, divisor));
    store_row(hn::Mul(gradient_scale, hn::Sub(of_product, pull)), products + column, valid, whole);
  });
  fill_row(0, row.linear_begin, products);
  fill_row(0, columns - row.linear_end, products + row.linear_end);
  return loss;
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
