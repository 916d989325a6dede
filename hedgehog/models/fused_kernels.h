// Element-wise arithmetic of the Llama block on plain pointers, one pass over memory each, for every instruction set by
// Highway. Rows are contiguous fp32. fused.h has the differentiable operators over these.
#pragma once

#include <cstdint>

namespace hedgehog {

/// y = w · s / rms(s), s = x + delta; `delta` and `sum` (s) may be null together. rstd[row] = 1 / rms.
struct RmsNormRows {
  const float *x, *delta, *weight;
  float epsilon;
  std::int64_t dim;
  float *sum, *y, *rstd;
};
void rms_norm_rows(const RmsNormRows& args, std::int64_t begin, std::int64_t end);

/// dx = dsum + rstd · (g − x · rstd² · mean(g · x)), g = dy · w; `dsum` may be null.
struct RmsNormBackwardRows {
  const float *dy, *x, *weight, *rstd, *dsum;
  std::int64_t dim;
  float* dx;
};
void rms_norm_backward_rows(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end);

/// y = silu(gate) · up.
void swiglu_range(const float* gate, const float* up, float* y, std::int64_t begin, std::int64_t end);
void swiglu_backward_range(const float* dy, const float* gate, const float* up, float* dgate, float* dup, std::int64_t begin,
                           std::int64_t end);

/// The two halves of each row turned by the angles of its position: [a, b] to [a·cos − b·sin, b·cos + a·sin].
struct RotateRows {
  const float* x;
  float* y;
  const float *cos, *sin;
  std::int64_t heads, length, dim;                   // a row is one of [batch, heads, length]
  std::int64_t x_batch, x_head, x_row;               // strides
  std::int64_t y_batch, y_head, y_row, table_batch;  // table rows are `dim` apart
  float direction;                                   // 1, or −1 for the backward pass
};
void rotate_rows(const RotateRows& args, std::int64_t begin, std::int64_t end);

}  // namespace hedgehog
