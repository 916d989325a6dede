// y = W x for one to four vectors at a time: decoding's products, bound by how fast W comes from memory. Highway, run-time
// dispatch.
#pragma once

#include "hedgehog/kernels/element.h"

#include <cstdint>

namespace hedgehog::kernels {

/// Contiguous, row-major. y[r][o] = bias[o] + Σ_i weight[o][i] · x[r][i], summed in fp32 in an order that depends on `inputs`
/// alone: how outputs are split over calls and how many rows share one call change no bit.
struct Matvec {
  const void* weight = nullptr;  // [outputs, inputs]
  Element weight_element = Element::kFloat32;
  const float* x = nullptr;     // [rows, inputs]
  const float* bias = nullptr;  // [outputs] or null
  float* y = nullptr;           // [rows, outputs]
  std::int64_t rows = 1, outputs = 0, inputs = 0;
};

/// The most rows that one call takes.
inline constexpr std::int64_t kMatvecRows = 4;

/// Computes the outputs first ≤ o < last of all rows: the caller splits the outputs over its threads.
/// 1 ≤ rows ≤ kMatvecRows; nothing is checked.
void matvec(const Matvec& operation, std::int64_t first, std::int64_t last);

/// The instruction set that matvec() uses on this machine, as Highway names it.
const char* matvec_target();

}  // namespace hedgehog::kernels
