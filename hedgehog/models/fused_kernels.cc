// RMSNorm, SwiGLU and rotary loops, compiled once for each instruction set that Highway targets.
#include "hedgehog/models/fused_kernels.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/models/fused_kernels.cc"
#include "hwy/foreach_target.h"
// Highway wants these after foreach_target.h.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;

template <class D>
using Vector = hn::Vec<D>;

// Calls body(tag, i) over [0, n): whole vectors, then single elements.
template <class Body>
HWY_INLINE void over(std::int64_t n, const Body& body) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(Full()));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(Full(), i);
  for (; i < n; ++i) body(One(), i);
}

// Sum over i of term(tag, i), in two chains that hide the latency of the additions.
template <class Term>
HWY_INLINE float sum_over(std::int64_t n, const Term& term) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Add(even, term(d, i));
    odd = hn::Add(odd, term(d, i + lanes));
  }
  for (; i + lanes <= n; i += lanes) even = hn::Add(even, term(d, i));
  float total = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) total += hn::GetLane(term(One(), i));
  return total;
}

// 1 / (1 + e^−x), from e^−|x| so that nothing overflows.
template <class D>
HWY_INLINE Vector<D> sigmoid(D d, Vector<D> x) {
  const auto e = hn::Exp(d, hn::Neg(hn::Abs(x)));
  const auto positive = hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), e));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(e, positive), positive);
}

void RmsNormRowsTarget(const RmsNormRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t dim = args.dim;
  for (std::int64_t row = begin; row < end; ++row) {
    const float* HWY_RESTRICT x = args.x + row * dim;
    if (args.delta != nullptr) {
      const float* HWY_RESTRICT delta = args.delta + row * dim;
      float* HWY_RESTRICT sum = args.sum + row * dim;
      over(dim, [&](auto d, std::int64_t i) { hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, delta + i)), d, sum + i); });
      x = sum;
    }
    const float squares = sum_over(dim, [&](auto d, std::int64_t i) {
      const auto v = hn::LoadU(d, x + i);
      return hn::Mul(v, v);
    });
    const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(dim) + args.epsilon);
    args.rstd[row] = rstd;
    float* HWY_RESTRICT y = args.y + row * dim;
    over(dim, [&](auto d, std::int64_t i) {
      const auto normalised = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, rstd));
      hn::StoreU(hn::Mul(normalised, hn::LoadU(d, args.weight + i)), d, y + i);
    });
  }
}

void RmsNormBackwardRowsTarget(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t dim = args.dim;
  for (std::int64_t row = begin; row < end; ++row) {
    const float* HWY_RESTRICT dy = args.dy + row * dim;
    const float* HWY_RESTRICT x = args.x + row * dim;
    float* HWY_RESTRICT dx = args.dx + row * dim;
    const float dot = sum_over(dim, [&](auto d, std::int64_t i) {
      return hn::Mul(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, args.weight + i)), hn::LoadU(d, x + i));
    });
    const float rstd = args.rstd[row];
    const float pull = -dot / static_cast<float>(dim) * rstd * rstd * rstd;
    const float* dsum = args.dsum == nullptr ? nullptr : args.dsum + row * dim;
    over(dim, [&](auto d, std::int64_t i) {
      const auto g = hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, args.weight + i));
      auto value = hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, pull), hn::Mul(g, hn::Set(d, rstd)));
      if (dsum != nullptr) value = hn::Add(value, hn::LoadU(d, dsum + i));
      hn::StoreU(value, d, dx + i);
    });
  }
}

void SwigluTarget(const float* gate, const float* up, float* y, std::int64_t begin, std::int64_t end) {
  over(end - begin, [&](auto d, std::int64_t offset) {
    const std::int64_t i = begin + offset;
    const auto g = hn::LoadU(d, gate + i);
    hn::StoreU(hn::Mul(hn::Mul(g, sigmoid(d, g)), hn::LoadU(d, up + i)), d, y + i);
  });
}

void SwigluBackwardTarget(const float* dy, const float* gate, const float* up, float* dgate, float* dup, std::int64_t begin,
                          std::int64_t end) {
  over(end - begin, [&](auto d, std::int64_t offset) {
    const std::int64_t i = begin + offset;
    const auto g = hn::LoadU(d, gate + i);
    const auto gradient = hn::LoadU(d, dy + i);
    const auto s = sigmoid(d, g);
    const auto silu = hn::Mul(g, s);
    hn::StoreU(hn::Mul(gradient, silu), d, dup + i);
    // silu'(g) = s + silu · (1 − s)
    const auto slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), s), s);
    hn::StoreU(hn::Mul(hn::Mul(gradient, hn::LoadU(d, up + i)), slope), d, dgate + i);
  });
}

void RotateRowsTarget(const RotateRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t half = args.dim / 2;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t position = row % args.length;
    const std::int64_t head = row / args.length % args.heads;
    const std::int64_t batch = row / (args.length * args.heads);
    const float* HWY_RESTRICT x = args.x + batch * args.x_batch + head * args.x_head + position * args.x_row;
    float* HWY_RESTRICT y = args.y + batch * args.y_batch + head * args.y_head + position * args.y_row;
    const float* HWY_RESTRICT cos = args.cos + batch * args.table_batch + position * args.dim;
    const float* HWY_RESTRICT sin = args.sin + batch * args.table_batch + position * args.dim;
    over(half, [&](auto d, std::int64_t i) {
      const auto a = hn::LoadU(d, x + i);
      const auto b = hn::LoadU(d, x + half + i);
      const auto c = hn::LoadU(d, cos + i);
      const auto s = hn::Mul(hn::LoadU(d, sin + i), hn::Set(d, args.direction));
      hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, y + i);
      hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, y + half + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace hedgehog
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hedgehog {

HWY_EXPORT(RmsNormRowsTarget);
HWY_EXPORT(RmsNormBackwardRowsTarget);
HWY_EXPORT(SwigluTarget);
HWY_EXPORT(SwigluBackwardTarget);
HWY_EXPORT(RotateRowsTarget);

void rms_norm_rows(const RmsNormRows& args, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(RmsNormRowsTarget)(args, begin, end);
}

void rms_norm_backward_rows(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackwardRowsTarget)(args, begin, end);
}

void swiglu_range(const float* gate, const float* up, float* y, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(SwigluTarget)(gate, up, y, begin, end);
}

void swiglu_backward_range(const float* dy, const float* gate, const float* up, float* dgate, float* dup, std::int64_t begin,
                           std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(SwigluBackwardTarget)(dy, gate, up, dgate, dup, begin, end);
}

void rotate_rows(const RotateRows& args, std::int64_t begin, std::int64_t end) {
  HWY_DYNAMIC_DISPATCH(RotateRowsTarget)(args, begin, end);
}

}  // namespace hedgehog
#endif  // HWY_ONCE
