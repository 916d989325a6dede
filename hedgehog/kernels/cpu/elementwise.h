// Element-wise arithmetic of the Llama block on plain pointers, one pass over memory each, for every instruction set by
// Highway. Rows are contiguous, fp32 or bf16; arithmetic is fp32. models/fused.h has the differentiable operators over these.
#pragma once

#include "hedgehog/kernels/element.h"

#include <cstdint>

namespace hedgehog::kernels {

/// y = w · s / rms(s), s = x + delta; `delta` and `sum` (s) may be null together. rstd[row] = 1 / rms. With bf16 the rounded
/// sum is what the norm sees.
struct RmsNormRows {
  Element element;
  const void *x, *delta, *weight;
  float epsilon;
  std::int64_t dim;
  void *sum, *y;
  float* rstd;
};
void rms_norm_rows(const RmsNormRows& args, std::int64_t begin, std::int64_t end);

/// dx = dsum + rstd · (g − x · rstd² · mean(g · x)), g = dy · w; `dsum` may be null.
struct RmsNormBackwardRows {
  Element element;
  const void *dy, *x, *weight;
  const float* rstd;
  const void* dsum;
  std::int64_t dim;
  void* dx;
};
void rms_norm_backward_rows(const RmsNormBackwardRows& args, std::int64_t begin, std::int64_t end);

/// y = silu(gate) · up.
struct Swiglu {
  Element element;
  const void *gate, *up;
  void* y;
};
void swiglu_range(const Swiglu& args, std::int64_t begin, std::int64_t end);

struct SwigluBackward {
  Element element;
  const void *dy, *gate, *up;
  void *dgate, *dup;
};
void swiglu_backward_range(const SwigluBackward& args, std::int64_t begin, std::int64_t end);

/// The two halves of each row turned by the angles of its position: [a, b] to [a·cos − b·sin, b·cos + a·sin].
struct RotateRows {
  Element element;
  const void* x;
  void* y;
  const float *cos, *sin;
  std::int64_t heads, length, dim;                   // a row is one of [batch, heads, length]
  std::int64_t x_batch, x_head, x_row;               // strides
  std::int64_t y_batch, y_head, y_row, table_batch;  // table rows are `dim` apart
  float direction;                                   // 1, or −1 for the backward pass
};
void rotate_rows(const RotateRows& args, std::int64_t begin, std::int64_t end);

}  // namespace hedgehog::kernels
