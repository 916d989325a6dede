// See linear_state.h.
#include "hedgehog/kernels/cpu/linear_state.h"

#include "hedgehog/kernels/cpu/instruction_set.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hedgehog/kernels/cpu/linear_state.cc"
#include <hwy/foreach_target.h>

#include "hedgehog/kernels/cpu/row_operations-inl.h"
#include "hedgehog/kernels/cpu/state_row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hedgehog::kernels::HWY_NAMESPACE {

template <typename Number>
void unpack_row_of(const LinearState& state, std::int64_t row, std::int64_t dim, float* to) {
  const auto* from = static_cast<const Number*>(state.s) + row * dim;
  over(dim, [&](auto d, std::int64_t i) { hn::StoreU(load(d, from + i), d, to + i); });
  if (sizeof(Number) == 1) scale_row(to, dim, state.scale[row], false, to);
  to[dim] = state.z[row];
}

// Row `row` of [B, G, F] to fp32, z behind it.
void unpack_row(const LinearState& state, std::int64_t row, std::int64_t dim, float* to) {
  switch (state.element) {
    case StateElement::kFloat32:
      return unpack_row_of<float>(state, row, dim, to);
    case StateElement::kBfloat16:
      return unpack_row_of<std::uint16_t>(state, row, dim, to);
    case StateElement::kInt8:
      return unpack_row_of<std::int8_t>(state, row, dim, to);
  }
}

template <typename Number>
void pack_row_of(const float* from, std::int64_t row, std::int64_t dim, const std::uint32_t* columns, std::uint32_t bits,
                 const LinearState& state) {
  Number* to = static_cast<Number*>(state.s) + row * dim;
  over(dim, [&](auto d, std::int64_t i) {
    const hn::RebindToUnsigned<decltype(d)> unsigned_tag;
    const auto random = hn::Xor(hn::LoadU(unsigned_tag, columns + i), hn::Set(unsigned_tag, bits));
    if constexpr (sizeof(Number) == 1) {
      store_scaled(hn::LoadU(d, from + i), int8_factors(d, hn::Set(d, state.scale[row])), d, random, to + i);
    } else {
      store_rounded(hn::LoadU(d, from + i), d, random, to + i);
    }
  });
}

// The way back; `from` may be changed.
void pack_row(float* from, std::int64_t row, std::int64_t dim, const std::uint32_t* columns, std::uint32_t bits,
              const LinearState& state) {
  state.z[row] = from[dim];
  switch (state.element) {
    case StateElement::kFloat32:
      return pack_row_of<float>(from, row, dim, columns, bits, state);
    case StateElement::kBfloat16:
      return pack_row_of<std::uint16_t>(from, row, dim, columns, bits, state);
    case StateElement::kInt8:
      limit_row(from, dim);
      state.scale[row] = hn::GetLane(int8_scales(OneTag(), hn::Set(OneTag(), row_size(from, dim))));
      return pack_row_of<std::int8_t>(from, row, dim, columns, bits, state);
  }
}

}  // namespace hedgehog::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include "hedgehog/base/random.h"

namespace hedgehog::kernels {

HWY_EXPORT(unpack_row);
HWY_EXPORT(pack_row);

RoundingBits::RoundingBits(const AttentionShape& shape, StateElement element, std::uint32_t seed)
    : dim_(shape.dim), features_(shape.features) {
  if (element == StateElement::kFloat32) {
    bits_.resize(static_cast<std::size_t>(shape.kv_heads * (dim_ + features_)));
    return;
  }
  const bool scaled = element == StateElement::kInt8;
  Random random{seed, 0};
  for (std::int64_t i = 0; i < shape.kv_heads * (dim_ + features_); ++i) {
    const bool of_column = i % (dim_ + features_) < dim_;
    bits_.push_back(static_cast<std::uint32_t>(random.next() >> (scaled ? 49 : 48)) | (scaled && of_column ? kInt8Offset : 0));
  }
}

std::vector<float> unpacked_state(const LinearState& state, const AttentionShape& shape, const ParallelFor& parallel_for) {
  if (!state) return {};
  const std::int64_t rows = shape.batch * shape.kv_heads * shape.features, dim = shape.dim;
  std::vector<float> unpacked(static_cast<std::size_t>(rows * (dim + 1)));
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      HEDGEHOG_DISPATCH(unpack_row)(state, row, dim, unpacked.data() + row * (dim + 1));
    }
  });
  return unpacked;
}

void pack_state(float* unpacked, const AttentionShape& shape, std::uint32_t rounding_seed, const LinearState& state,
                const ParallelFor& parallel_for) {
  const RoundingBits bits(shape, state.element, rounding_seed);
  const std::int64_t rows = shape.batch * shape.kv_heads * shape.features, dim = shape.dim;
  parallel_for(rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t g = row / shape.features % shape.kv_heads;
      HEDGEHOG_DISPATCH(pack_row)
      (unpacked + row * (dim + 1), row, dim, bits.columns(g), bits.rows(g)[row % shape.features], state);
    }
  });
}

}  // namespace hedgehog::kernels

#endif  // HWY_ONCE
