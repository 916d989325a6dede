// See bidirectional.h. Each document [begin, end) of a row is a problem of its own; padded keys are left out of S and z.
#include "hedgehog/kernels/cpu/bidirectional.h"
#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/bidirectional.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/attention_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

// sum [features, stride] += x [rows, features]ᵀ [y, last], y [rows, dim] scaled by weight[row] (null: 1), `last` one number a
// row (null: 1) scaled alike.
void outer_sums(std::int64_t rows, std::int64_t features, std::int64_t dim, const float* x, std::int64_t x_row, const float* y,
                std::int64_t y_row, const float* weight, const float* last, float* scratch, float* sum, std::int64_t stride) {
  for (std::int64_t j0 = 0; j0 < rows; j0 += kTileRows) {
    const std::int64_t count = least(kTileRows, rows - j0);
    for (std::int64_t j = j0; j < j0 + count; ++j) {
      float* row = scratch + (j - j0) * stride;
      const float factor = weight == nullptr ? 1.0f : weight[j];
      scale_row(y + j * y_row, dim, factor, false, row);
      row[dim] = factor * (last == nullptr ? 1.0f : last[j]);
    }
    gemm(features, dim + 1, count, x + j0 * x_row, 1, x_row, scratch, stride, sum, stride, Store::kAdd);
  }
}

inline std::int64_t document_end(const AttentionArguments& a, std::int64_t b, std::int64_t begin) {
  if (a.segment_start == nullptr) return a.shape.length;
  std::int64_t end = begin + 1;
  while (end < a.shape.length && a.segment_start[b * a.shape.length + end] == a.segment_start[b * a.shape.length + begin])
    ++end;
  return end;
}

inline std::int64_t key_end(const AttentionArguments& a, std::int64_t b, std::int64_t begin, std::int64_t end) {
  return a.key_count == nullptr ? end : clamp(a.key_count[b], begin, end);
}

void bidirectional_forward_head(const AttentionArguments& a, const Strided<float>& out, float* row_max, float* inverse_sum,
                                std::int64_t b, std::int64_t g) {
  const AttentionShape& s = a.shape;
  const std::int64_t stride = padded(s.dim + 1), group = s.heads / s.kv_heads;
  Buffer<float> state(s.features * stride), scratch(kTileRows * stride);
  for (std::int64_t begin = 0; begin < s.length;) {
    const std::int64_t end = document_end(a, b, begin);
    std::memset(state.get(), 0, sizeof(float) * static_cast<std::size_t>(s.features * stride));
    outer_sums(key_end(a, b, begin, end) - begin, s.features, s.dim, a.phi_k.at(b, g, begin), a.phi_k.row,
               a.v.at<float>(b, g, begin), a.v.row, nullptr, nullptr, scratch.get(), state.get(), stride);
    for (std::int64_t h = g * group; h < (g + 1) * group; ++h) {
      for (std::int64_t i0 = begin; i0 < end; i0 += kTileRows) {
        const std::int64_t rows = least(kTileRows, end - i0), offset = (b * s.heads + h) * s.length + i0;
        gemm(rows, s.dim + 1, s.features, a.phi_q.at(b, h, i0), a.phi_q.row, 1, state.get(), stride, scratch.get(), stride,
             Store::kOverwrite);
        for (std::int64_t r = 0; r < rows; ++r) {
          const float inverse = inverse_or_zero(scratch.get()[r * stride + s.dim]);
          row_max[offset + r] = 0;
          inverse_sum[offset + r] = inverse;
          scale_row(scratch.get() + r * stride, s.dim, inverse, false, out.at(b, h, i0 + r));
        }
      }
    }
    begin = end;
  }
}

void bidirectional_backward_head(const AttentionArguments& a, const Strided<const float>& out, const Strided<const float>& dout,
                                 const float* inverse_sum, const AttentionGradients& gradients, std::int64_t b,
                                 std::int64_t g) {
  const AttentionShape& s = a.shape;
  const std::int64_t stride = padded(s.dim + 1), group = s.heads / s.kv_heads, wide = padded(s.features);
  Buffer<float> state(s.features * stride), transposed((s.dim + 1) * wide), scratch(kTileRows * stride), dots(s.length);
  Buffer<float> dstate(s.features * stride), dtransposed((s.dim + 1) * wide);
  for (std::int64_t begin = 0; begin < s.length;) {
    const std::int64_t end = document_end(a, b, begin), keys = key_end(a, b, begin, end) - begin;
    std::memset(state.get(), 0, sizeof(float) * static_cast<std::size_t>(s.features * stride));
    std::memset(dstate.get(), 0, sizeof(float) * static_cast<std::size_t>(s.features * stride));
    outer_sums(keys, s.features, s.dim, a.phi_k.at(b, g, begin), a.phi_k.row, a.v.at<float>(b, g, begin), a.v.row, nullptr,
               nullptr, scratch.get(), state.get(), stride);
    transpose(s.features, s.dim + 1, state.get(), stride, transposed.get(), wide);
    for (std::int64_t h = g * group; h < (g + 1) * group; ++h) {
      const float* inverse = inverse_sum + (b * s.heads + h) * s.length + begin;
      for (std::int64_t i = begin; i < end; ++i) {
        dots.get()[i - begin] = -dot(out.at(b, h, i), dout.at(b, h, i), s.dim);
      }
      outer_sums(end - begin, s.features, s.dim, a.phi_q.at(b, h, begin), a.phi_q.row, dout.at(b, h, begin), dout.row, inverse,
                 dots.get(), scratch.get(), dstate.get(), stride);
      // dφ(q_i) = (S dy_i − z (y_i·dy_i)) / den_i
      for (std::int64_t i0 = begin; i0 < end; i0 += kTileRows) {
        const std::int64_t rows = least(kTileRows, end - i0);
        for (std::int64_t r = 0; r < rows; ++r) {
          float* row = scratch.get() + r * stride;
          scale_row(dout.at(b, h, i0 + r), s.dim, inverse[i0 - begin + r], false, row);
          row[s.dim] = inverse[i0 - begin + r] * dots.get()[i0 - begin + r];
        }
        gemm(rows, s.features, s.dim + 1, scratch.get(), stride, 1, transposed.get(), wide, gradients.phi_q.at(b, h, i0),
             gradients.phi_q.row, Store::kOverwrite);
      }
    }
    // dφ(k_j) = dS [v_j, 1], dv_j = dSᵀ φ(k_j)
    transpose(s.features, s.dim + 1, dstate.get(), stride, dtransposed.get(), wide);
    for (std::int64_t j0 = begin; j0 < end; j0 += kTileRows) {
      const std::int64_t rows = least(kTileRows, end - j0);
      for (std::int64_t r = 0; r < rows; ++r) {
        const bool masked = j0 + r >= begin + keys;
        float* row = scratch.get() + r * stride;
        scale_row(a.v.at<float>(b, g, j0 + r), s.dim, masked ? 0.0f : 1.0f, false, row);
        row[s.dim] = masked ? 0.0f : 1.0f;
      }
      gemm(rows, s.features, s.dim + 1, scratch.get(), stride, 1, dtransposed.get(), wide, gradients.phi_k.at(b, g, j0),
           gradients.phi_k.row, Store::kOverwrite);
      gemm(rows, s.dim, s.features, a.phi_k.at(b, g, j0), a.phi_k.row, 1, dstate.get(), stride, gradients.v.at(b, g, j0),
           gradients.v.row, Store::kOverwrite);
      for (std::int64_t r = 0; r < rows; ++r) {
        if (j0 + r >= begin + keys) fill_row(0, s.dim, gradients.v.at(b, g, j0 + r));
      }
    }
    begin = end;
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace hedgehog::kernels {

HWY_EXPORT(bidirectional_forward_head);
HWY_EXPORT(bidirectional_backward_head);

void bidirectional_forward(const AttentionArguments& arguments, Strided<float> out, float* row_max, float* inverse_sum,
                           const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  parallel_for(s.batch * s.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      HEDGEHOG_DISPATCH(bidirectional_forward_head)
      (arguments, out, row_max, inverse_sum, task / s.kv_heads, task % s.kv_heads);
    }
  });
}

void bidirectional_backward(const AttentionArguments& arguments, Strided<const float> out, Strided<const float> out_gradient,
                            const float* inverse_sum, const AttentionGradients& gradients, const ParallelFor& parallel_for) {
  const AttentionShape& s = arguments.shape;
  parallel_for(s.batch * s.kv_heads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      HEDGEHOG_DISPATCH(bidirectional_backward_head)
      (arguments, out, out_gradient, inverse_sum, gradients, task / s.kv_heads, task % s.kv_heads);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
