// RMSNorm, SwiGLU and rotary loops, compiled once for each instruction set that Highway targets; each is one template for
// fp32 and bf16.
#include "hedgehog/kernels/cpu/elementwise.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/elementwise.cc"
#include <hwy/foreach_target.h>
// Highway wants these after foreach_target.h.
#include "hedgehog/kernels/cpu/element-inl.h"

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

template <class D>
using Vector = hn::Vec<D>;

// 1 / (1 + e^−x), from e^−|x| so that nothing overflows.
template <class D>
HWY_INLINE Vector<D> sigmoid(D d, Vector<D> x) {
  const auto e = hn::Exp(d, hn::Neg(hn::Abs(x)));
  const auto positive = hn::Div(hn::Set(d, 1.0f), hn::Add(hn::Set(d, 1.0f), e));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(e, positive), positive);
}

template <typename T>
void norm_rows(const RmsNormRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t dim = args.dim;
  const T* HWY_RESTRICT weight = static_cast<const T*>(args.weight);
  for (std::int64_t row = begin; row < end; ++row) {
    const T* HWY_RESTRICT x = static_cast<const T*>(args.x) + row * dim;
    if (args.delta != nullptr) {
      const T* HWY_RESTRICT delta = static_cast<const T*>(args.delta) + row * dim;
      T* HWY_RESTRICT sum = static_cast<T*>(args.sum) + row * dim;
      over(dim, [&](auto d, std::int64_t i) { store(hn::Add(load(d, x + i), load(d, delta + i)), d, sum + i); });
      x = sum;
    }
    const float squares = sum_over(dim, [&](auto d, std::int64_t i) {
      const auto v = load(d, x + i);
      return hn::Mul(v, v);
    });
    const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(dim) + args.epsilon);
    args.rstd[row] = rstd;
    T* HWY_RESTRICT y = static_cast<T*>(args.y) + row * dim;
    over(dim, [&](auto d, std::int64_t i) {
      const auto normalised = hn::Mul(load(d, x + i), hn::Set(d, rstd));
      store(hn::Mul(normalised, load(d, weight + i)), d, y + i);
    });
  }
}

template <typename T>
void norm_backward_rows(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t dim = args.dim;
  const T* HWY_RESTRICT weight = static_cast<const T*>(args.weight);
  for (std::int64_t row = begin; row < end; ++row) {
    const T* HWY_RESTRICT dy = static_cast<const T*>(args.dy) + row * dim;
    const T* HWY_RESTRICT x = static_cast<const T*>(args.x) + row * dim;
    T* HWY_RESTRICT dx = static_cast<T*>(args.dx) + row * dim;
    const float dot = sum_over(
        dim, [&](auto d, std::int64_t i) { return hn::Mul(hn::Mul(load(d, dy + i), load(d, weight + i)), load(d, x + i)); });
    const float rstd = args.rstd[row];
    const float pull = -dot / static_cast<float>(dim) * rstd * rstd * rstd;
    const T* dsum = args.dsum == nullptr ? nullptr : static_cast<const T*>(args.dsum) + row * dim;
    over(dim, [&](auto d, std::int64_t i) {
      const auto g = hn::Mul(load(d, dy + i), load(d, weight + i));
      auto value = hn::MulAdd(load(d, x + i), hn::Set(d, pull), hn::Mul(g, hn::Set(d, rstd)));
      if (dsum != nullptr) value = hn::Add(value, load(d, dsum + i));
      store(value, d, dx + i);
    });
  }
}

template <typename T>
void swiglu(const Swiglu& args, std::int64_t begin, std::int64_t end) {
  const T *gate = static_cast<const T*>(args.gate), *up = static_cast<const T*>(args.up);
  T* y = static_cast<T*>(args.y);
  over(end - begin, [&](auto d, std::int64_t offset) {
    const std::int64_t i = begin + offset;
    const auto g = load(d, gate + i);
    store(hn::Mul(hn::Mul(g, sigmoid(d, g)), load(d, up + i)), d, y + i);
  });
}

template <typename T>
void swiglu_backward(const SwigluBackward& args, std::int64_t begin, std::int64_t end) {
  const T *dy = static_cast<const T*>(args.dy), *gate = static_cast<const T*>(args.gate), *up = static_cast<const T*>(args.up);
  T *dgate = static_cast<T*>(args.dgate), *dup = static_cast<T*>(args.dup);
  over(end - begin, [&](auto d, std::int64_t offset) {
    const std::int64_t i = begin + offset;
    const auto g = load(d, gate + i);
    const auto gradient = load(d, dy + i);
    const auto s = sigmoid(d, g);
    const auto silu = hn::Mul(g, s);
    store(hn::Mul(gradient, silu), d, dup + i);
    // silu'(g) = s + silu · (1 − s)
    const auto slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), s), s);
    store(hn::Mul(hn::Mul(gradient, load(d, up + i)), slope), d, dgate + i);
  });
}

template <typename T>
void rotate(const RotateRows& args, std::int64_t begin, std::int64_t end) {
  const std::int64_t half = args.dim / 2;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t position = row % args.length;
    const std::int64_t head = row / args.length % args.heads;
    const std::int64_t batch = row / (args.length * args.heads);
    const T* HWY_RESTRICT x = static_cast<const T*>(args.x) + batch * args.x_batch + head * args.x_head + position * args.x_row;
    T* HWY_RESTRICT y = static_cast<T*>(args.y) + batch * args.y_batch + head * args.y_head + position * args.y_row;
    const float* HWY_RESTRICT cos = args.cos + batch * args.table_batch + position * args.dim;
    const float* HWY_RESTRICT sin = args.sin + batch * args.table_batch + position * args.dim;
    over(half, [&](auto d, std::int64_t i) {
      const auto a = load(d, x + i);
      const auto b = load(d, x + half + i);
      const auto c = load(d, cos + i);
      const auto s = hn::Mul(load(d, sin + i), hn::Set(d, args.direction));
      store(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, y + i);
      store(hn::MulAdd(a, s, hn::Mul(b, c)), d, y + half + i);
    });
  }
}

// The loops for both elements behind one name, which Highway exports.
void rms_norm_rows_target(const RmsNormRows& args, std::int64_t begin, std::int64_t end) {
  args.element == Element::kFloat32 ? norm_rows<float>(args, begin, end) : norm_rows<std::uint16_t>(args, begin, end);
}

void rms_norm_backward_rows_target(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end) {
  args.element == Element::kFloat32 ? norm_backward_rows<float>(args, begin, end)
                                    : norm_backward_rows<std::uint16_t>(args, begin, end);
}

void swiglu_target(const Swiglu& args, std::int64_t begin, std::int64_t end) {
  args.element == Element::kFloat32 ? swiglu<float>(args, begin, end) : swiglu<std::uint16_t>(args, begin, end);
}

void swiglu_backward_target(const SwigluBackward& args, std::int64_t begin, std::int64_t end) {
  args.element == Element::kFloat32 ? swiglu_backward<float>(args, begin, end)
                                    : swiglu_backward<std::uint16_t>(args, begin, end);
}

void rotate_rows_target(const RotateRows& args, std::int64_t begin, std::int64_t end) {
  args.element == Element::kFloat32 ? rotate<float>(args, begin, end) : rotate<std::uint16_t>(args, begin, end);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hedgehog::kernels {

HWY_EXPORT(rms_norm_rows_target);
HWY_EXPORT(rms_norm_backward_rows_target);
HWY_EXPORT(swiglu_target);
HWY_EXPORT(swiglu_backward_target);
HWY_EXPORT(rotate_rows_target);

void rms_norm_rows(const RmsNormRows& args, std::int64_t begin, std::int64_t end) {
  HEDGEHOG_DISPATCH(rms_norm_rows_target)(args, begin, end);
}

void rms_norm_backward_rows(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end) {
  HEDGEHOG_DISPATCH(rms_norm_backward_rows_target)(args, begin, end);
}

void swiglu_range(const Swiglu& args, std::int64_t begin, std::int64_t end) {
  HEDGEHOG_DISPATCH(swiglu_target)(args, begin, end);
}

void swiglu_backward_range(const SwigluBackward& args, std::int64_t begin, std::int64_t end) {
  HEDGEHOG_DISPATCH(swiglu_backward_target)(args, begin, end);
}

void rotate_rows(const RotateRows& args, std::int64_t begin, std::int64_t end) {
  HEDGEHOG_DISPATCH(rotate_rows_target)(args, begin, end);
}

}  // namespace hedgehog::kernels
#endif  // HWY_ONCE
