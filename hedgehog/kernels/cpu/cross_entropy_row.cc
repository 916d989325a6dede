// log-sum-exp in two passes over a row that fits into the second-level cache, then loss and gradient in a third.
#include "hedgehog/kernels/cpu/cross_entropy_row.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/cross_entropy_row.cc"
#include <hwy/foreach_target.h>  // compiles this file once for each instruction set

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::ScalableTag<float>;

/// exp(x) in [0, 1] for x <= 0; the argument is cut where exp underflows.
template <typename V>
V exp_nonpositive(Floats d, V x) {
  return hn::Exp(d, hn::Max(x, hn::Set(d, -87.0f)));
}

float maximum(const float* x, std::size_t count) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  auto most = hn::Set(d, x[0]);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) most = hn::Max(most, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, most));
  for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

/// log Σ exp(x) − maximum. The partial sums are moved to double before they grow past what fp32 adds well.
double log_sum(const float* x, std::size_t count, float most) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, most);
  double total = 0;
  std::size_t i = 0;
  while (i + lanes <= count) {
    auto sum = hn::Zero(d);
    const std::size_t whole = count - lanes;
    const std::size_t end = i + 256 * lanes < whole + 1 ? i + 256 * lanes : whole + 1;
    for (; i < end; i += lanes) sum = hn::Add(sum, exp_nonpositive(d, hn::Sub(hn::LoadU(d, x + i), shift)));
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  for (; i < count; ++i) total += std::exp(x[i] - most);
  return std::log(total);
}

RowLoss row(float* x, const float* teacher, std::size_t count, std::size_t target, float factor, float scale) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  const float most = maximum(x, count);
  const double log_total = log_sum(x, count, most);
  const float normaliser = most + static_cast<float>(log_total);
  RowLoss loss;
  loss.cross_entropy = static_cast<double>(most) - x[target] + log_total;
  std::size_t i = 0;
  if (teacher == nullptr) {
    const auto shift = hn::Set(d, normaliser), factors = hn::Set(d, scale);
    for (; i + lanes <= count; i += lanes) {
      const auto q = exp_nonpositive(d, hn::Sub(hn::LoadU(d, x + i), shift));
      hn::StoreU(hn::Mul(factors, q), d, x + i);
    }
    for (; i < count; ++i) x[i] = scale * std::exp(x[i] - normaliser);
  } else {
    const float teacher_most = maximum(teacher, count);
    const float teacher_normaliser = teacher_most + static_cast<float>(log_sum(teacher, count, teacher_most));
    const auto shift = hn::Set(d, normaliser), teacher_shift = hn::Set(d, teacher_normaliser);
    const auto factors = hn::Set(d, scale), share = hn::Set(d, factor);
    while (i + lanes <= count) {
      auto sum = hn::Zero(d);
      const std::size_t whole = count - lanes;
      const std::size_t end = i + 256 * lanes < whole + 1 ? i + 256 * lanes : whole + 1;
      for (; i < end; i += lanes) {
        const auto log_q = hn::Sub(hn::LoadU(d, x + i), shift);
        const auto log_p = hn::Sub(hn::LoadU(d, teacher + i), teacher_shift);
        const auto p = exp_nonpositive(d, log_p);
        sum = hn::MulAdd(p, hn::Sub(log_p, log_q), sum);
        hn::StoreU(hn::Mul(factors, hn::NegMulAdd(share, p, exp_nonpositive(d, log_q))), d, x + i);
      }
      loss.kl += hn::GetLane(hn::SumOfLanes(d, sum));
    }
    for (; i < count; ++i) {
      const float log_q = x[i] - normaliser, log_p = teacher[i] - teacher_normaliser;
      const float p = std::exp(log_p);
      loss.kl += static_cast<double>(p) * (log_p - log_q);
      x[i] = scale * (std::exp(log_q) - factor * p);
    }
  }
  x[target] -= scale * (1 - factor);
  return loss;
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hedgehog::kernels {
HWY_EXPORT(row);

RowLoss cross_entropy_row(float* logits, const float* teacher_logits, std::size_t count, std::size_t target,
                          float teacher_factor, float scale) {
  return HEDGEHOG_DISPATCH(row)(logits, teacher_logits, count, target, teacher_factor, scale);
}

}  // namespace hedgehog::kernels
#endif
