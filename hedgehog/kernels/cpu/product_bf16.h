// C (+)= A B of bf16 numbers with fp32 sums, where the processor multiplies bf16 itself (AVX-512 BF16, and AMX in a TileScope).
#pragma once

#include <cstdint>

namespace hedgehog::kernels {

/// Whether product_bf16 may be called on this processor.
bool has_bf16_products();

/// C [m, n] fp32, added to when `add`. The numbers along k lie in pairs: A [m, 2·pairs] with rows a_row numbers apart; B
/// [pairs, n], a pair in each 32-bit word, rows b_row words apart. An odd k ends with a pair whose second number is zero in B
/// and finite in A.
void product_bf16(std::int64_t m, std::int64_t n, std::int64_t pairs, const std::uint16_t* a, std::int64_t a_row,
                  const std::uint32_t* b, std::int64_t b_row, float* c, std::int64_t c_row, bool add);

}  // namespace hedgehog::kernels
