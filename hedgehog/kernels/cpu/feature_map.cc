// See kernels/feature_map.h.
#include "hedgehog/kernels/feature_map.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/feature_map.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

void activate_rows_of(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width, const float* u_rows,
                      float* phi_rows, float* log_scale) {
  activate_rows<FullMath>(activation, end - begin, width, u_rows + begin * width, width, nullptr, phi_rows + begin * 2 * width,
                          2 * width, log_scale == nullptr ? nullptr : log_scale + begin);
}

void activate_backward_rows(Activation activation, std::int64_t begin, std::int64_t end, std::int64_t width,
                            const float* phi_rows, const float* gradient_rows, float* u_gradient) {
  for (std::int64_t i = begin; i < end; ++i) {
    activate_row_backward<FullMath>(activation, width, phi_rows + i * 2 * width, gradient_rows + i * 2 * width, nullptr, 0,
                                    u_gradient + i * width, nullptr);
  }
}

template <class Math>
void head_log_scales(const AttentionShape& s, const Rows& k, std::int64_t width, const float* weight, const float* bias,
                     std::int64_t b, std::int64_t g, float* log_scales) {
  using Number = typename Math::Number;
  const FloatTag d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  Buffer<Number> map_memory(width * even(s.dim)), input_memory(kChunkRows * even(s.dim)), keys_memory(kChunkRows * even(s.dim));
  Buffer<float> u(width * kChunkRows);
  const View<Number> map = Math::left(weight + g * width * s.dim, s.dim, width, s.dim, map_memory.get());
  for (std::int64_t begin = 0; begin < s.length; begin += kChunkRows) {
    const std::int64_t rows = least(kChunkRows, s.length - begin);
    const View<Number> input = Math::input(k, b, g, begin, rows, s.dim, input_memory.get());
    const View<Number> keys = Math::right_transposed(input, rows, s.dim, kChunkRows, keys_memory.get());
    Math::product(width, kChunkRows, s.dim, map, keys, u.get(), kChunkRows, Store::kOverwrite);
    for (std::int64_t j = 0; j < rows; j += lanes) {
      auto most = hn::Zero(d);
      for (std::int64_t m = 0; m < width; ++m) {
        const auto value = hn::LoadU(d, u.get() + m * kChunkRows + j);
        most = hn::Max(most, hn::Abs(bias == nullptr ? value : hn::Add(value, hn::Set(d, bias[g * width + m]))));
      }
      store_row(most, log_scales + begin + j, hn::FirstN(d, static_cast<std::size_t>(rows - j)), false);
    }
  }
}

void all_log_scales(const AttentionShape& s, const Rows& k, std::int64_t width, const float* weight, const float* bias,
                    std::int64_t b, std::int64_t g, float* log_scales) {
#if HEDGEHOG_HAS_HALF_MATH
  if (takes_half(k)) {
    const TileScope tiles;
    return head_log_scales<HalfMath>(s, k, width, weight, bias, b, g, log_scales);
  }
#endif
  head_log_scales<FullMath>(s, k, width, weight, bias, b, g, log_scales);
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hedgehog::kernels {

HWY_EXPORT(activate_rows_of);
HWY_EXPORT(activate_backward_rows);
HWY_EXPORT(all_log_scales);

void activate(Activation activation, std::int64_t rows, std::int64_t width, const float* u, float* phi, float* log_scale,
              const ParallelFor& parallel_for) {
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    HEDGEHOG_DISPATCH(activate_rows_of)(activation, begin, end, width, u, phi, log_scale);
  });
}

void activate_backward(Activation activation, std::int64_t rows, std::int64_t width, const float* phi,
                       const float* phi_gradient, float* u_gradient, const ParallelFor& parallel_for) {
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    HEDGEHOG_DISPATCH(activate_backward_rows)(activation, begin, end, width, phi, phi_gradient, u_gradient);
  });
}

void key_log_scales(const AttentionShape& shape, const Rows& k, std::int64_t width, const float* weight, const float* bias,
                    float* log_scales, const ParallelFor& parallel_for) {
  parallel_for(shape.batch * shape.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t head = begin; head < end; ++head) {
      HEDGEHOG_DISPATCH(all_log_scales)
      (shape, k, width, weight, bias, head / shape.kv_heads, head % shape.kv_heads, log_scales + head * shape.length);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
