// C = A B for the products of a model's training: hundreds of rows against a weight matrix. Highway, run-time dispatch.
// docs/decisions.md says why there is one beside the library's.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <cstdint>

namespace hedgehog::kernels {

/// c[i][j] (+)= Σ_p a[i · a_row + p · a_column] · b[p · b_row + j · b_column], all fp32, no part of C overlapping A or B.
/// Of each pair of strides one is 1: A, B or both may be transposed.
struct MatrixProduct {
  std::int64_t rows = 0, columns = 0, depth = 0;  // of C: rows × columns; the sum's length
  const float* a = nullptr;
  std::int64_t a_row = 0, a_column = 1;
  const float* b = nullptr;
  std::int64_t b_row = 0, b_column = 1;
  float* c = nullptr;
  std::int64_t c_row = 0;
  bool add = false;  // to what C holds
};

/// Sums are of the same order, so the result of the same bits, for any number of threads. `threads` is how many pieces are
/// worth while. Throws std::bad_alloc.
void matrix_product(const MatrixProduct& product, std::int64_t threads, const ParallelFor& parallel_for);

}  // namespace hedgehog::kernels
