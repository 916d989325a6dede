// A linear state (kernels/attention.h) as calls hand it on, and as the chunked passes carry it, and its random rounding.
#pragma once

#include "hedgehog/kernels/attention.h"

#include <cstdint>
#include <vector>

namespace hedgehog::kernels {

/// See store_scaled() of state_row-inl.h.
inline constexpr std::uint32_t kInt8Offset = 1u << 22;

/// What rounding adds below the last digit that is kept: column d and row f of key/value head g get columns(g)[d] ^ rows(g)[f].
/// Both are drawn anew for each seed, so that each number is uniform and any two of one call are independent, which is all
/// that expectation and variance of a sum depend on; yet D + F are drawn and not D · F.
class RoundingBits {
 public:
  /// 16 random bits for bf16, 15 for int8, whose columns have kInt8Offset too; fp32 is not rounded.
  RoundingBits(const AttentionShape& shape, StateElement element, std::uint32_t seed);

  const std::uint32_t* columns(std::int64_t g) const { return bits_.data() + g * (dim_ + features_); }
  const std::uint32_t* rows(std::int64_t g) const { return columns(g) + dim_; }

 private:
  std::int64_t dim_, features_;
  std::vector<std::uint32_t> bits_;
};

/// [B, G, F, D + 1] in fp32, z as the last column; empty where there is no state.
std::vector<float> unpacked_state(const LinearState& state, const AttentionShape& shape, const ParallelFor& parallel_for);

/// The way back; what is packed is spoiled.
void pack_state(float* unpacked, const AttentionShape& shape, std::uint32_t rounding_seed, const LinearState& state,
                const ParallelFor& parallel_for);

}  // namespace hedgehog::kernels
